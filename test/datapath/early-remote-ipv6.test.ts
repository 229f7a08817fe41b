/** The same over IPv6. */
await import(`${new URL('early-remote.test.ts', import.meta.url).href}?ipv6`)
