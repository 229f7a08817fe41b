/** The same over IPv6. */
await import(`${new URL('weighed-flows.test.ts', import.meta.url).href}?ipv6`)
