/** A process of its own in the network of a node: what NetfilterLook costs there, as one line of JSON. */
import { NetfilterLook } from '../src/datapath/netfilter-look.ts'
import { median, nowMs } from './report.ts'

function taken(action: () => unknown): number {
  const began = nowMs()
  action()
  return nowMs() - began
}

const look = new NetfilterLook()
const firstMs = taken(() => look.read())
const each = (action: () => unknown): number => median(Array.from({ length: 300 }, () => taken(action)))
console.log(JSON.stringify({ firstMs, glanceMs: each(() => look.hasChanged()), readMs: each(() => look.read()) }))
