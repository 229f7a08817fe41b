/** The same over IPv6. */
await import(`${new URL('sctp.test.ts', import.meta.url).href}?ipv6`)
