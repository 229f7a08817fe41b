/** The same over IPv6. */
await import(`${new URL('snat.test.ts', import.meta.url).href}?ipv6`)
