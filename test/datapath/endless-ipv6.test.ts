/** The same over IPv6. */
await import(`${new URL('endless.test.ts', import.meta.url).href}?ipv6`)
