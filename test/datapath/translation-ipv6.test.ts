/** The same over IPv6. */
await import(`${new URL('translation.test.ts', import.meta.url).href}?ipv6`)
