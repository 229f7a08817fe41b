/** The same over IPv6. */
await import(`${new URL('snat-forged.test.ts', import.meta.url).href}?ipv6`)
