/** The same over IPv6. */
await import(`${new URL('unkept.test.ts', import.meta.url).href}?ipv6`)
