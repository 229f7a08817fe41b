/** The same over IPv6. */
await import(`${new URL('fragments.test.ts', import.meta.url).href}?ipv6`)
