/** A process of its own in the network of a node: what NetfilterLook costs there, as one line of JSON. */
import { NetfilterLook } from '../src/datapath/netfilter-look.ts'
import { median, nowMs } from './report.ts'

function taken(action: () => unknown): number {
  const began = nowMs()
  action()
  return nowMs() - began
}

const look = new NetfilterLook()
const traffic = {
  pods: new Map([['10.1.0.2', ['pod0']]]),
  ...{ former: new Set<string>(), shown: new Set<string>(), uplinks: ['up0'], elsewhere: [] },
}
const firstMs = taken(() => look.policies())
const each = (action: () => unknown): number => median(Array.from({ length: 300 }, () => taken(action)))
console.log(
  JSON.stringify({
    firstMs,
    glanceMs: each(() => look.hasChanged()),
    readMs: each(() => [look.policies(), look.rules(traffic)]),
  }),
)
