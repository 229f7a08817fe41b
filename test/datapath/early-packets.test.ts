/** What the tests of single packets say of the programs of TC, once more with herald_xdp in front of them. */
import { early } from './early.ts'

early.choose('dropped', 'answered')
/** Once more over IPv6: see family.ts. */
const query = import.meta.url.endsWith('?ipv6') ? '?ipv6' : '?early'
for (const name of ['answers', 'sources', 'translation', 'odd-packets', 'flows'])
  await import(`${new URL(`${name}.test.ts`, import.meta.url).href}${query}`)
