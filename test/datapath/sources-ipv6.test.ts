/** The same over IPv6. */
await import(`${new URL('sources.test.ts', import.meta.url).href}?ipv6`)
