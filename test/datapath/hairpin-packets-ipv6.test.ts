/** The same over IPv6. */
await import(`${new URL('hairpin-packets.test.ts', import.meta.url).href}?ipv6`)
