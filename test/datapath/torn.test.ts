/**
 * Records that are replaced while packets read them. From Linux 6.1 on the memory of a replaced one is at once that of
 * the next, whosever that is.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { schema } from '../../src/datapath/layout.ts'
import { frontendId } from '../../src/desired/model.ts'
import { BpfObject, runProgram } from '../../src/sys/bpf.ts'
import { frontendOf, kernelFixture, verdict, whyNoKernel } from './fixture.ts'
import { tcpFlag, tcpFrame } from './frames.ts'
import type { Rewriting } from './rewriter.ts'

const skip = whyNoKernel()
const vips = ['192.0.2.10', '192.0.2.11', '192.0.2.12', '192.0.2.13']
const packets = 300_000
const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer)

test('while frontends are replaced no first packet goes to a pod of another Service, or is counted for one', {
  skip,
  timeout: 60_000,
}, async (t) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open({ settleSec: 0 })
  // With what takes a while between finding a record and having read all of it.
  const more = { sources: [{ prefix: '0.0.0.0/0', isAllowed: true }], affinitySec: 3_600 }
  for (const [n, address] of vips.entries()) {
    const pods = [1, 2].map((i) => ({ address: `10.1.${n}.${i}`, port: 8080 }))
    datapath.upsert({ ...frontendOf(address, 80, pods), ...more })
  }
  const driver = new BpfObject(join(dirname(buildBpf()), 'driver.bpf.o'))
  driver.load()
  t.after(() => driver.close())
  const rewriting: Rewriting = {
    path: `${fixture.bpffs}/herald/v${schema}/maps/frontends`,
    stop: new SharedArrayBuffer(4),
  }
  const worker = new Worker(new URL('rewriter.ts', import.meta.url), { workerData: rewriting })
  t.after(() => worker.terminate())
  await once(worker, 'message')
  // Each of another source: all are first packets. See bench/bpf/driver.bpf.c.
  const ends = { source: '198.18.0.0', sourcePort: 40_000, destinationPort: 80 }
  const [meant = ''] = vips
  const frame = tcpFrame({ ...ends, destination: meant, flags: tcpFlag.SYN })
  const job = new Uint8Array(88)
  job.set([...word(0xffff_ffff), ...word(0), ...word(0), ...frame])
  driver.openMap('target').update(word(0), word(datapath.programs.ingress))
  driver.openMap('jobs').update(word(0), job)
  assert.equal(runProgram(driver.programFd('driver'), frame, packets).verdict, verdict.pass)
  Atomics.store(new Int32Array(rewriting.stop), 0, 1)
  const [written] = (await once(worker, 'message')) as [number]
  t.diagnostic(`${written} records replaced`)
  assert.ok(written > 10_000)
  assert.deepEqual(
    datapath.drops().filter(({ packets: n }) => n > 0),
    [],
  )
  const counted = vips.map((address) => datapath.counters(frontendId(address, 'TCP', 80))?.packetsIn)
  assert.deepEqual(counted, [packets, 0, 0, 0])
})
