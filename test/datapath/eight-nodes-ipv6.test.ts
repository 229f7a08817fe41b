/** The same over IPv6. */
await import(`${new URL('eight-nodes.test.ts', import.meta.url).href}?ipv6`)
