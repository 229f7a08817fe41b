/** The same over IPv6. */
await import(`${new URL('unkept-flood.test.ts', import.meta.url).href}?ipv6`)
