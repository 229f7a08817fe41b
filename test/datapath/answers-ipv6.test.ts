/** The same over IPv6. */
await import(`${new URL('answers.test.ts', import.meta.url).href}?ipv6`)
