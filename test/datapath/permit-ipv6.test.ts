/** The same over IPv6. */
await import(`${new URL('permit.test.ts', import.meta.url).href}?ipv6`)
