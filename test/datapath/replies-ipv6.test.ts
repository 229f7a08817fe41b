/** The same over IPv6. */
await import(`${new URL('replies.test.ts', import.meta.url).href}?ipv6`)
