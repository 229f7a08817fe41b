/** The same over IPv6. */
await import(`${new URL('remote-forged.test.ts', import.meta.url).href}?ipv6`)
