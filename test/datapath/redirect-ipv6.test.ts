/** The same over IPv6. */
await import(`${new URL('redirect.test.ts', import.meta.url).href}?ipv6`)
