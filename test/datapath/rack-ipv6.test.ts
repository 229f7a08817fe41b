/** The same over IPv6. */
await import(`${new URL('rack.test.ts', import.meta.url).href}?ipv6`)
