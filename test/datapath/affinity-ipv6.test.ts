/** The same over IPv6. */
await import(`${new URL('affinity.test.ts', import.meta.url).href}?ipv6`)
