/** Changes the backends of a Service as fast as it can, on the maps of another process: a line for every 50 times. */
import { openKernelDatapath } from '../../src/datapath/kernel.ts'
import { frontendOf, smallMaps } from './fixture.ts'

const [bpffs = '', objectFile = '', vip = ''] = process.argv.slice(2)
const datapath = openKernelDatapath({ bpffs, objectFile, attach: 'auto', drainSec: 0, maxEntries: smallMaps })
const pods = Array.from({ length: 6 }, (_, n) => ({
  address: vip.includes(':') ? `fd00:10:1::${n + 1}` : `10.1.0.${10 + n}`,
  port: 8080,
}))

function flip(count: number): void {
  for (let n = count; n < count + 50; n++) {
    const from = n % pods.length
    datapath.upsert(frontendOf(vip, 80, [...pods, ...pods].slice(from, from + 1 + (n % 3))))
  }
  console.log(count + 50)
  setImmediate(flip, count + 50)
}
flip(0)
