/** The same over IPv6. */
await import(`${new URL('edited-flows.test.ts', import.meta.url).href}?ipv6`)
