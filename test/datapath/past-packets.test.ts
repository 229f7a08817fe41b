/** What the tests of single packets say of the way through the stack, once more past netfilter. */
import { past } from './past.ts'

past.choose()
/** Once more over IPv6: see family.ts. */
const [family, more] = import.meta.url.endsWith('?ipv6') ? ['?ipv6', []] : ['?past', ['flows']]
for (const name of ['translation', ...more])
  await import(`${new URL(`${name}.test.ts`, import.meta.url).href}${family}`)
