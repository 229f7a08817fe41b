/** The same over IPv6. */
await import(`${new URL('rule-traps.test.ts', import.meta.url).href}?ipv6`)
