/**
 * Changes the backends of a Service as fast as it can, on the maps of another process: a line for every 50 times. With
 * a network as the last argument its source ranges, of which that network always is one.
 */
import { openKernelDatapath } from '../../src/datapath/kernel.ts'
import type { Frontend } from '../../src/desired/model.ts'
import { frontendOf, smallMaps } from './fixture.ts'

const [bpffs = '', objectFile = '', vip = '', network] = process.argv.slice(2)
const datapath = openKernelDatapath({ bpffs, objectFile, attach: 'auto', drainSec: 0, maxEntries: smallMaps })
const pods = Array.from({ length: 6 }, (_, n) => ({
  address: vip.includes(':') ? `fd00:10:1::${n + 1}` : `10.1.0.${10 + n}`,
  port: 8080,
}))

function sourcesOf(n: number): Pick<Frontend, 'sources'> {
  if (network === undefined) return {}
  const others = pods.slice(0, n % pods.length).map(({ address }) => `${address}/${address.includes(':') ? 128 : 32}`)
  return { sources: [network, ...others].map((prefix) => ({ prefix, isAllowed: true })) }
}

function flip(count: number): void {
  for (let n = count; n < count + 50; n++) {
    const from = n % pods.length
    const backends = [...pods, ...pods].slice(from, from + 1 + (n % 3))
    datapath.upsert({ ...frontendOf(vip, 80, backends), ...sourcesOf(n) })
  }
  console.log(count + 50)
  setImmediate(flip, count + 50)
}
flip(0)
