/** The same over IPv6. */
await import(`${new URL('backends.test.ts', import.meta.url).href}?ipv6`)
