/** The same over IPv6. */
await import(`${new URL('node-ports.test.ts', import.meta.url).href}?ipv6`)
