/** A file system that takes no pins and memory that is not there: what serves is served on, and the reason is named. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { schema } from '../../src/datapath/layout.ts'
import { frontendOf, ingress, kernelFixture, smallMaps, verdict, whyNoKernel } from './fixture.ts'
import { parse, tcpFlag, tcpFrame } from './frames.ts'

const skip = whyNoKernel()
const vip = '192.0.2.10'
const pod = { address: '10.1.0.5', port: 8080 }
/** More than any machine has memory for. */
const tooMany = { ...smallMaps, connections: 2 ** 30 }

function served(datapath: KernelDatapath, flags: number, port = 80): string {
  const frame = tcpFrame({ source: '198.51.100.7', destination: vip, sourcePort: 40_000, destinationPort: port, flags })
  const run = ingress(datapath, frame)
  return run.verdict === verdict.pass ? parse(run.packet).destination : 'refused'
}

test('no memory for larger flows at a start: those that are there stay, serve, and are named with the reason', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const former = fixture.open()
  former.upsert(frontendOf(vip, 80, [pod]))
  assert.equal(served(former, tcpFlag.SYN), pod.address)
  former.close()
  const next = fixture.open({ maxEntries: tooMany })
  assert.match(
    next.status.problems?.map(({ text }) => text).join() ?? '',
    /^map connections keeps its size and cannot be made larger: .*(ENOMEM|E2BIG)/,
  )
  assert.equal(next.usage().find(({ name }) => name === 'connections')?.maxEntries, smallMaps.connections)
  assert.equal(served(next, tcpFlag.ACK), pod.address)
  assert.deepEqual(readdirSync(join(fixture.bpffs, 'herald', `v${schema}`)).sort(), ['links', 'maps', 'programs'])
})

test('no memory for a table at the first start is an error that names the call, and the next start begins anew', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  assert.throws(() => fixture.open({ maxEntries: tooMany }), { code: 'ERR_BPF_LOAD', message: /ENOMEM|E2BIG/ })
  const next = fixture.open()
  next.upsert(frontendOf(vip, 80, [pod]))
  assert.equal(served(next, tcpFlag.SYN), pod.address)
  assert.equal(next.status.adopted, false)
})

test('a bpf file system that takes no pins: a growth is put off and named, what fits is written and served', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const remount = (how: 'ro' | 'rw'): void => {
    execFileSync('mount', ['-o', `remount,${how}`, fixture.bpffs])
  }
  const datapath = fixture.open({ mostEntries: { frontends: 256, counters: 256 } })
  for (let n = 0; n < 48; n++) datapath.upsert(frontendOf(vip, 80 + n, [pod]))
  remount('ro')
  try {
    datapath.upsert(frontendOf(vip, 200, [pod]))
    assert.match(datapath.status.problems?.map(({ text }) => text).join() ?? '', /frontends is 75 % full .*EROFS/)
    assert.equal(served(datapath, tcpFlag.SYN, 200), pod.address)
    assert.throws(() => fixture.open(), /EROFS/, 'a successor says what is in its way')
    assert.equal(served(datapath, tcpFlag.ACK, 200), pod.address)
  } finally {
    remount('rw')
  }
  datapath.close()
  const next = fixture.open({ mostEntries: { frontends: 256, counters: 256 } })
  assert.equal(next.readAll().length, 49)
  next.upsert(frontendOf(vip, 201, [pod]))
  assert.deepEqual([next.status.problems, served(next, tcpFlag.ACK, 200)], [[], pod.address])
})
