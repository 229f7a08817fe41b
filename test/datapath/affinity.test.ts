/** Session affinity: a client stays with its backend, by its address alone and by what it was given before. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { schema } from '../../src/datapath/layout.ts'
import type { Backend, Frontend } from '../../src/desired/model.ts'
import { BpfMap, closeFd, openPinned } from '../../src/sys/bpf.ts'
import { waitFor } from '../wait.ts'
import { familyOf } from './family.ts'
import { evict, frontendOf, ingress, kernelFixture, smallMaps, verdict, whyNoKernel } from './fixture.ts'
import { parse, tcpFlag, tcpFrame, udpFrame } from './frames.ts'

const skip = whyNoKernel()
const { vip, secondVip, podAt } = familyOf(import.meta.url)
const { SYN, ACK } = tcpFlag
const pods = (from: number, to: number, port = 8080): readonly Backend[] =>
  Array.from({ length: to - from }, (_, n) => ({ address: podAt(from + n), port }))
const clients = Array.from({ length: 40 }, (_, n) =>
  podAt(0x80 + n)
    .replace('10.1.0', '198.51.100')
    .replace('fd00', '2001'),
)
const sticky = (backends: readonly Backend[], affinitySec = 10_800, address = vip, port = 80): Frontend => ({
  ...frontendOf(address, port, backends),
  affinitySec,
})

let lastPort = 1024
/** The pod that a new connection of a client meets. */
function meets(datapath: KernelDatapath, source: string, destination = vip, port = 80, flags: number = SYN): string {
  lastPort = lastPort < 60_000 ? lastPort + 1 : 1024
  const ends = { source, destination, sourcePort: lastPort, destinationPort: port }
  const run = ingress(datapath, tcpFrame({ ...ends, flags, ack: 7 }))
  return run.verdict === verdict.pass ? parse(run.packet).destination : `verdict ${run.verdict}`
}
const all = (datapath: KernelDatapath, destination = vip, port = 80): readonly string[] =>
  clients.map((each) => meets(datapath, each, destination, port))

function withMap<T>(bpffs: string, use: (map: BpfMap) => T): T {
  const fd = openPinned(`${bpffs}/herald/v${schema}/maps/affinity`)
  if (fd === undefined) throw new Error('affinity is not pinned')
  try {
    return use(new BpfMap('affinity', fd))
  } finally {
    closeFd(fd)
  }
}
const forget = (bpffs: string): void =>
  withMap(bpffs, (map) => {
    for (const [key] of [...map.entries()]) map.delete(key)
  })

test('all flows of a client meet one pod, by every port and VIP with the same pods, and by what it sends', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(sticky(pods(1, 5)))
  datapath.upsert(sticky(pods(1, 5, 9090), 60, vip, 443))
  datapath.upsert(sticky(pods(1, 5), 60, secondVip))
  datapath.upsert({ ...frontendOf(vip, 53, pods(1, 5), 'UDP'), affinitySec: 60 })
  const first = all(datapath)
  assert.equal(new Set(first).size, 4, 'the clients spread over all pods')
  for (let round = 0; round < 5; round++) assert.deepEqual(all(datapath), first)
  assert.deepEqual(all(datapath, vip, 443), first, 'another port')
  assert.deepEqual(all(datapath, secondVip), first, 'another VIP')
  const byUdp = clients.map((source, n) => {
    const run = ingress(datapath, udpFrame({ source, destination: vip, sourcePort: 7000 + n, destinationPort: 53 }))
    return parse(run.packet).destination
  })
  assert.deepEqual(byUdp, first, 'UDP')
})

test('two nodes that know nothing of a client choose the same pod for it', { skip }, (t) => {
  const [one, other] = [kernelFixture(t).open(), kernelFixture(t).open()]
  for (const datapath of [one, other]) datapath.upsert(frontendOf(secondVip, 80, pods(9, 12)))
  other.upsert(frontendOf(vip, 81, pods(3, 8)))
  for (const datapath of [one, other]) datapath.upsert(sticky(pods(1, 7)))
  assert.deepEqual(all(one), all(other))
})

test('a client stays when pods come and when others go, and new clients meet the new ones', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(sticky(pods(1, 2)))
  const alone = all(datapath)
  datapath.upsert(sticky(pods(1, 6)))
  assert.deepEqual(all(datapath), alone, 'who came while there was one pod stays with it')
  const fresh = clients.map((each) =>
    meets(
      datapath,
      each.replace(/[0-9a-f]+$/, (last) => `${parseInt(last, 10) % 7}`),
    ),
  )
  assert.ok(new Set(fresh).size > 1, 'others spread')
  const late = kernelFixture(t).open()
  late.upsert(sticky(pods(1, 6)))
  const first = all(late)
  late.upsert(sticky([...pods(1, 3), ...pods(20, 40)]))
  const second = all(late)
  for (const [n, pod] of first.entries())
    if (pod === podAt(1) || pod === podAt(2)) assert.equal(second[n], pod)
    else assert.notEqual(second[n], pod)
})

test('a pod that rests, leaves, or serves another Service alone is left at once, and not come back to', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(secondVip, 80, pods(1, 5)))
  const [gone, ...rest] = pods(1, 5)
  for (const away of [{ ...sticky(rest), resting: gone === undefined ? [] : [gone] }, sticky(rest)]) {
    datapath.upsert(sticky(pods(1, 5)))
    const first = all(datapath)
    datapath.upsert(away)
    const second = all(datapath)
    datapath.upsert(sticky(pods(1, 5)))
    const third = all(datapath)
    for (const [n, pod] of first.entries())
      if (pod === gone?.address) assert.notEqual(second[n], pod)
      else assert.equal(second[n], pod)
    assert.deepEqual(third, second, 'who went elsewhere stays there')
    datapath.remove(sticky([]).id)
  }
})

test('when the time is over since its last flow began a client goes where a new one would', { skip }, async (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(sticky(pods(1, 2), 1))
  const alone = all(datapath)
  datapath.upsert(sticky(pods(1, 6), 1))
  assert.deepEqual(all(datapath), alone)
  const begun = performance.now()
  await waitFor('the time-out', () => performance.now() - begun > 1_100)
  assert.equal(new Set(all(datapath)).size, 5)
})

test('whoever forges clients can only make others go where the hash of their address says', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open({ maxEntries: { ...smallMaps, affinity: 64, openings: 1 << 14 } })
  datapath.upsert(sticky(pods(1, 6)))
  const first = all(datapath)
  for (let n = 0; n < 2_000; n++)
    meets(
      datapath,
      podAt(1)
        .replace(/1$/, `${(n % 250) + 1}`)
        .replace('10.1', `172.${n >> 8}`),
    )
  assert.ok(withMap(fixture.bpffs, (map) => [...map.entries()].length) <= 128, 'the map has its size')
  assert.deepEqual(all(datapath), first)
  forget(fixture.bpffs)
  assert.deepEqual(all(datapath), first)
})

test('what does not begin a flow follows the client, and prolongs nothing; the probe of the agent leaves no trace', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open()
  datapath.upsert(sticky(pods(1, 2)))
  assert.equal(
    withMap(fixture.bpffs, (map) => [...map.entries()].length),
    0,
  )
  const alone = all(datapath)
  const before = withMap(fixture.bpffs, (map) => [...map.entries()].map(String).sort())
  datapath.upsert(sticky(pods(1, 6)))
  assert.deepEqual(
    clients.map((each) => meets(datapath, each, vip, 80, ACK)),
    alone,
  )
  assert.deepEqual(
    withMap(fixture.bpffs, (map) => [...map.entries()].map(String).sort()),
    before,
  )
})

test('a flow whose state is gone finds its pod by the table before, which its address alone chose too', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open()
  datapath.upsert(sticky(pods(1, 6)))
  const ends = clients.map((source, n) => ({ source, destination: vip, sourcePort: 9_000 + n, destinationPort: 80 }))
  const send = (flags: number): readonly string[] =>
    ends.map((each) => parse(ingress(datapath, tcpFrame({ ...each, flags, ack: 7 })).packet).destination)
  const first = send(SYN)
  datapath.upsert(sticky(pods(1, 40)))
  evict(fixture.bpffs, 0)
  forget(fixture.bpffs)
  assert.deepEqual(send(ACK), first)
})

test('affinity survives a restart and larger maps, and begins anew when it was turned off between', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const former = fixture.open()
  former.upsert(sticky(pods(1, 2)))
  const alone = all(former)
  former.upsert(sticky(pods(1, 6)))
  former.close()
  const successor = fixture.open()
  assert.equal(successor.read(sticky([]).id)?.affinitySec, 10_800)
  assert.deepEqual(all(successor), alone)
  successor.close()
  const larger = fixture.open({ maxEntries: { ...smallMaps, affinity: 4096, connections: 8192 } })
  assert.equal(larger.usage().find(({ name }) => name === 'affinity')?.maxEntries, 4096)
  assert.deepEqual(all(larger), alone)
  larger.upsert(frontendOf(vip, 80, pods(1, 6)))
  assert.equal(larger.read(sticky([]).id)?.affinitySec, undefined)
  larger.upsert(sticky(pods(1, 6)))
  assert.equal(new Set(all(larger)).size, 5)
})

test('the list of those with whom clients may stay is read back, and written again when somebody changed it', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open()
  const wanted = sticky(pods(1, 40), 60)
  assert.equal(datapath.upsert(wanted).affinitySec, 60)
  const first = all(datapath)
  const fd = openPinned(`${fixture.bpffs}/herald/v${schema}/maps/frontends`) ?? assert.fail()
  const frontends = new BpfMap('frontends', fd)
  for (const [key, value] of frontends.entries()) frontends.update(key, value.fill(0, 60, 64))
  closeFd(fd)
  assert.equal(datapath.read(wanted.id)?.affinitySec, undefined)
  assert.equal(datapath.upsert(wanted).affinitySec, 60)
  assert.deepEqual(all(datapath), first)
})
