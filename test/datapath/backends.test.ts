/** Backends: an address, port and protocol, with readiness as a state; their ids outlive them for a while. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { test } from 'node:test'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { probe } from '../../src/datapath/probe.ts'
import { frontendId } from '../../src/desired/model.ts'
import { waitFor } from '../wait.ts'
import { familyOf } from './family.ts'
import { frontendOf, ingress, kernelFixture, smallMaps, verdict, whyNoKernel } from './fixture.ts'
import { parse, tcpFlag, tcpFrame } from './frames.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, secondVip, client, podAt, vipAt } = family
const pod = { address: podAt(5), port: 8080 }
const other = { address: podAt(6), port: 8080 }
const { SYN, ACK } = tcpFlag

function request(datapath: KernelDatapath, flags: number, sourcePort = 40_000, destination = vip): string {
  const run = ingress(
    datapath,
    tcpFrame({ source: client, destination, sourcePort, destinationPort: 80, flags, ack: 7 }),
  )
  return run.verdict === verdict.pass
    ? parse(run.packet).destination
    : run.verdict === verdict.redirect
      ? 'RST'
      : 'drop'
}

test('readiness that comes and goes resets nothing, however long it is away; nor does an endpoint that comes back ' +
  'before its while is over', { skip }, (t) => {
  const datapath = kernelFixture(t).open({ drainSec: 30 })
  datapath.upsert(frontendOf(vip, 80, [pod]))
  assert.equal(request(datapath, SYN), pod.address)
  const states = [
    ['not ready, alone', { ...frontendOf(vip, 80, []), resting: [pod] }],
    ['not ready beside another', { ...frontendOf(vip, 80, [other]), resting: [pod] }],
    ['in no slice', frontendOf(vip, 80, [other])],
    ['not ready again', { ...frontendOf(vip, 80, [other]), resting: [pod] }],
    ['ready', frontendOf(vip, 80, [pod])],
    ['of another Service alone', frontendOf(vip, 80, [])],
  ] as const
  datapath.upsert(frontendOf(secondVip, 80, [pod]))
  for (const [what, frontend] of states) {
    datapath.upsert(frontend)
    assert.equal(request(datapath, ACK), pod.address, what)
    const fresh = request(datapath, SYN, 41_000 + states.findIndex(([state]) => state === what))
    const [expected] = frontend.backends
    assert.equal(fresh, expected?.address ?? 'RST', `${what}: a new connection`)
  }
})

test('what rests is read back and adopted, and rests on', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const former = fixture.open({ drainSec: 0 })
  former.upsert(frontendOf(vip, 80, [pod, other]))
  assert.ok([pod.address, other.address].includes(request(former, SYN)))
  const served = request(former, ACK)
  const [rests, stays] = served === pod.address ? [pod, other] : [other, pod]
  const wanted = { ...frontendOf(vip, 80, [stays]), resting: [rests] }
  former.upsert(wanted)
  former.close()
  const successor = fixture.open({ drainSec: 0 })
  assert.deepEqual(successor.read(wanted.id)?.resting, [rests])
  assert.equal(request(successor, ACK), served)
  successor.upsert(wanted)
  assert.equal(request(successor, ACK), served)
  successor.upsert(frontendOf(vip, 80, [stays]))
  assert.equal(request(successor, ACK), 'RST', 'gone from every slice, and no while is given')
})

test('an id that drains is given to nobody, also not by a successor', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const open = (): KernelDatapath => fixture.open({ drainSec: 30, maxEntries: { ...smallMaps, backends: 8 } })
  const former = open()
  former.upsert(frontendOf(vip, 80, [pod]))
  former.upsert(frontendOf(secondVip, 80, [other]))
  assert.equal(request(former, SYN), pod.address)
  former.upsert(frontendOf(vip, 80, [other]))
  former.close()
  const successor = open()
  const many = Array.from({ length: 6 }, (_, n) => ({ address: podAt(100 + n), port: 8080 }))
  successor.upsert(frontendOf(vipAt(30), 80, many))
  assert.equal(request(successor, ACK), pod.address, 'the connection goes on')
  assert.throws(() => successor.upsert(frontendOf(vipAt(40), 80, [{ address: podAt(200), port: 1 }])), {
    code: 'ERR_MAP_FULL',
  })
  assert.equal(request(successor, ACK), pod.address)
  successor.upsert(frontendOf(vip, 80, [pod, other]))
  assert.equal(request(successor, ACK), pod.address, 'who comes back is who it was')
})

test('an update never answers that there is no backend while there is one', { skip }, async (t) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open({ drainSec: 0 })
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const script = fileURLToPath(new URL('flips.ts', import.meta.url))
  const flips = spawn(process.execPath, [script, fixture.bpffs, buildBpf(), vip], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = new Promise((resolve) => flips.once('exit', resolve))
  t.after(async () => {
    flips.kill('SIGKILL')
    await ended
  })
  let flipped = 0
  createInterface({ input: flips.stdout }).on('line', (count) => (flipped = Number(count)))
  const seen = new Map<string, number>()
  let sourcePort = 1024
  await waitFor(
    'many updates under load',
    () => {
      for (let n = 0; n < 500; n++) {
        const to = request(datapath, SYN, (sourcePort = sourcePort < 60_000 ? sourcePort + 1 : 1024))
        seen.set(to, (seen.get(to) ?? 0) + 1)
      }
      return flipped > 5000
    },
    { everyMs: 0 },
  )
  assert.ok(seen.size > 2, `connections of several states: ${[...seen.keys()].join(' ')}`)
  assert.equal(seen.get('RST') ?? 0, 0, `refused among ${[...seen.values()].reduce((a, b) => a + b)}`)
  assert.equal(datapath.reasons()['no_backend'], 0)
})

test('an address is a VIP or a backend of ours, never both', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  assert.throws(() => datapath.upsert(frontendOf(pod.address, 80, [other])), { code: 'ERR_ADDRESS' })
  assert.throws(() => datapath.upsert(frontendOf(secondVip, 80, [{ address: vip, port: 80 }])), {
    code: 'ERR_ADDRESS',
  })
  assert.equal(datapath.readAll().length, 1)
  assert.equal(request(datapath, SYN), pod.address)
})

test('what is written is proved by a first packet, which leaves no trace; one that reaches no backend is an error', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open()
  for (const protocol of ['TCP', 'UDP'] as const) {
    datapath.upsert(frontendOf(vip, 80, [pod, other], protocol))
    assert.equal(datapath.counters(frontendId(vip, protocol, 80))?.packetsIn, 0)
  }
  const flows = datapath.usage().filter(({ name }) => ['openings', 'connections', 'datagrams'].includes(name))
  assert.deepEqual(
    flows.map(({ entries }) => entries),
    [0, 0, 0],
  )
  for (const protocol of ['TCP', 'UDP'] as const) {
    const place = frontendOf(vip, 80, [pod], protocol)
    probe(datapath.programs.ingress, place, [pod, other])
    assert.throws(() => probe(datapath.programs.ingress, place, [{ address: podAt(99), port: 1 }]), {
      code: 'ERR_READ_BACK',
      message: /goes to \S+[56]\]?:8080, and reaches no backend/,
    })
    assert.throws(() => probe(datapath.programs.ingress, { ...place, port: 81 }, [pod]), /is answered or dropped/)
    const untranslated = new RegExp(`goes to \\[?${vip}\\]?:80,`)
    assert.throws(() => probe(datapath.programs.egress, place, [pod]), untranslated)
  }
})

test('an address from which probes come is served as any other', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  const [ipv4, ipv6] = ['10.1.1.1', 'fd00::1']
  for (const [address, pod] of [
    ['203.0.113.254', ipv4],
    ['192.0.2.254', ipv4],
    ['2001:db8:4845:5052::fe', ipv6],
    ['2001:db8:4845:5053::fe', ipv6],
  ] as const)
    for (const protocol of ['TCP', 'UDP'] as const)
      datapath.upsert(frontendOf(address, 80, [{ address: pod, port: 8080 }], protocol))
  assert.deepEqual(datapath.status.problems, [])
})
