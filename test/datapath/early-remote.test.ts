/** What the tests of nodes say of the programs of TC, once more with herald_xdp in front of them on every node. */
import { early } from './early.ts'

early.choose('handed on')
/** Once more over IPv6: see family.ts. */
const query = import.meta.url.endsWith('?ipv6') ? '?ipv6' : '?early'
for (const name of ['remote', 'remote-moved', 'remote-mtu', 'remote-forged', 'remote-hidden'])
  await import(`${new URL(`${name}.test.ts`, import.meta.url).href}${query}`)
