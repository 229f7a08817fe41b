/**
 * The loop of a node with its outside in memory: objects are put, time is turned, and what the kernel holds and the
 * speaker was told is looked at.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { Agent } from '../../src/agent/agent.ts'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { InForceRecord } from '../../src/agent/in-force.ts'
import { MemoryLinks } from '../../src/agent/links.ts'
import { RestartMarker } from '../../src/agent/restart-marker.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { createFakeDatapath, type FakeDatapath, type FakeDatapathOptions } from '../../src/datapath/fake.ts'
import { readDocuments } from '../../src/k8s/documents.ts'
import { MemorySource, type MemoryObject } from '../../src/k8s/memory-source.ts'
import { createTranslator, type TranslatorOptions } from '../../src/k8s/translate/translator.ts'
import type { DefaultGateways } from '../../src/k8s/translate/types.ts'
import { InMemorySpeakerThread } from '../../src/speaker/in-memory-thread.ts'
import { node, policyWith, pool, service, slice, smallestPolicy } from '../k8s/manifests.ts'
import { waitFor } from '../wait.ts'

const eth0 = { index: 2, name: 'eth0' }
const objectsOf = (text: string): MemoryObject[] => readDocuments('test.yaml', text).flatMap(({ objects }) => objects)
const keysOf = (text: string): MemoryObject['key'][] => objectsOf(text).map(({ key }) => key)
const web = service('web') + slice('web')
const db = service('db') + slice('db')
const all = smallestPolicy + node + pool + web + db

/** One life of an agent; {@link restart} is the next, over the same kernel and state directory. */
class Life {
  readonly clock = new VirtualClock()
  readonly source = new MemorySource()
  readonly speaker = new InMemorySpeakerThread()
  readonly links = new MemoryLinks()
  readonly log = new MemoryLog()
  readonly datapath: FakeDatapath
  readonly record: InForceRecord
  readonly agent: Agent
  readonly stateDir: string

  constructor(stateDir: string, options: FakeDatapathOptions = {}, more: Partial<TranslatorOptions> = {}) {
    this.stateDir = stateDir
    this.datapath = createFakeDatapath(options)
    this.record = new InForceRecord(stateDir)
    this.links.set([eth0])
    this.agent = new Agent({
      source: this.source,
      translator: createTranslator({ nodeName: 'node-a', datapath: 'ebpf', secretsNamespace: 'kube-system', ...more }),
      datapath: this.datapath,
      speaker: this.speaker,
      marker: new RestartMarker(stateDir),
      record: this.record,
      links: this.links,
      clock: this.clock,
      log: this.log,
    })
  }

  async start(text: string): Promise<this> {
    this.source.put(...objectsOf(text))
    await this.agent.start()
    this.clock.settle()
    return this
  }

  /** Objects come or change. */
  put(text: string): void {
    this.source.put(...objectsOf(text))
    this.source.flush()
    this.clock.settle()
  }

  remove(text: string): void {
    this.source.remove(...keysOf(text))
    this.source.flush()
    this.clock.settle()
  }

  /** The process is gone without a word, after it remembered what was in force. */
  async die(): Promise<void> {
    this.clock.advance(5_000)
    const prefixes = [...this.agent.order.announced.prefixes].sort()
    await waitFor('the record', () => this.record.read()?.prefixes.toSorted().join() === prefixes.join())
  }

  restart(options: FakeDatapathOptions = {}): Life {
    const { interfaces } = this.datapath.status
    return new Life(this.stateDir, { maps: this.datapath.maps, interfaces, ...options })
  }

  get announced(): string[] {
    return [...this.speaker.announced.keys()].sort()
  }

  get served(): string[] {
    assert.deepEqual(this.datapath.maps.check(), [])
    return this.datapath
      .readAll()
      .map(({ id }) => id)
      .sort()
  }

  get faults(): string[] {
    return this.agent.faults.map(({ key }) => key)
  }

  lines(pattern: RegExp): number {
    return this.log.lines.filter((line) => pattern.test(line)).length
  }
}

function life(t: TestContext, options: FakeDatapathOptions = {}, more: Partial<TranslatorOptions> = {}): Life {
  const stateDir = mkdtempSync(join(tmpdir(), 'life-'))
  t.after(() => rmSync(stateDir, { recursive: true }))
  return new Life(stateDir, options, more)
}

const [first, second] = ['198.51.100.0', '198.51.100.1']
const podCidr = '10.244.1.0/24'
const wide = pool.replace('198.51.100.0/28', '198.18.0.0/16')
const everything = [podCidr, `${first}/32`, `${second}/32`]

test('what is in the source is served, announced and followed by End-of-RIB, in this order', async (t) => {
  const one = await life(t).start(all)
  assert.deepEqual(one.announced, everything)
  assert.deepEqual(one.served, [`${first}:80/TCP`, `${second}:80/TCP`])
  assert.deepEqual(one.datapath.status.interfaces, ['eth0'])
  const kinds = one.speaker.posted.map(({ type }) => type)
  assert.equal(kinds[0], 'configure')
  assert.equal(kinds.at(-1), 'synced')
  assert.deepEqual([one.agent.isSynced, one.faults], [true, []])
})

test('a change costs its Service alone: one write, and a message where its route is another one', async (t) => {
  const one = await life(t).start(all)
  const before = one.speaker.posted.length
  one.put(slice('web').replace('10.244.1.5', '10.244.1.6'))
  assert.equal(one.datapath.read(`${second}:80/TCP`)?.backends[0]?.address, '10.244.1.6')
  assert.equal(one.speaker.posted.length - before, 0)
  one.put(slice('web', 'node-b'))
  assert.equal(one.speaker.posted.length - before, 1)
})

test('the neighbors to which a Service is to be announced are known by name', async (t) => {
  const one = await life(t).start(all)
  const [neighbor] = one.agent.speaker?.neighbors ?? []
  assert.deepEqual(one.agent.peersOf('default/web'), [neighbor?.peerAddress])
  assert.deepEqual(one.agent.peersOf('default/none'), [])
  one.remove(web)
  assert.deepEqual(one.agent.peersOf('default/web'), [])
})

test('a Service that goes is withdrawn at once, drains for five seconds and is removed', async (t) => {
  const one = await life(t).start(all)
  one.remove(web)
  assert.deepEqual(one.announced, [podCidr, `${first}/32`])
  one.clock.advance(4_999)
  assert.equal(one.served.length, 2)
  one.clock.advance(1)
  assert.deepEqual(one.served, [`${first}:80/TCP`])
})

test('thousands of Services are applied in slices, each a turn of the loop', async (t) => {
  const one = life(t, { maxEntries: { addresses: 8192, frontends: 2048, counters: 2048 } })
  const many = Array.from({ length: 500 }, (_, i) => service(`s${i}`) + slice(`s${i}`)).join('')
  one.source.put(...objectsOf(smallestPolicy + node + wide + many))
  await one.agent.start()
  assert.equal(one.announced.length, 0, 'not in the turn in which the last object was read')
  const turns: number[] = []
  const look = (): void => {
    assert.ok(!one.speaker.isSynced || one.announced.length === 501, 'End-of-RIB before the last route')
    if (turns.push(one.announced.length) < 1_000 && !one.speaker.isSynced) one.clock.soon(look)
  }
  one.clock.soon(look)
  one.clock.settle()
  assert.ok(
    turns.every((after, i) => after - (turns[i - 1] ?? 0) <= 2 * 64 + 1),
    turns.join(' '),
  )
  assert.deepEqual([turns[0], one.announced.length, one.speaker.isSynced], [1 + 64, 501, true])
})

/** Services with addresses in their status, settled in parts of 64, each in a turn of its own. */
function settling(t: TestContext, count: number): { readonly one: Life; readonly many: string } {
  let ms = 0
  const slowly = { isAllocatedElsewhere: true, nowMs: () => (ms += 10) }
  const one = life(t, { maxEntries: { addresses: 8192, frontends: 2048, counters: 2048 } }, slowly)
  const held = (i: number): string => `status: {loadBalancer: {ingress: [{ip: 198.18.${i >> 8}.${i & 255}}]}}\n`
  const many = Array.from({ length: count }, (_, i) => service(`s${i}`) + held(i) + slice(`s${i}`)).join('')
  return { one, many: smallestPolicy + node + wide + many }
}

test('it is synced when addresses are settled and what has them is on its way, and not in the turns before', async (t) => {
  const { one, many } = settling(t, 300)
  one.source.put(...objectsOf(many))
  const seen: (readonly [synced: boolean, announced: number])[] = []
  const look = (): void => {
    seen.push([one.agent.isSynced, one.announced.length])
    if (!one.agent.isSynced && seen.length < 5_000) one.clock.soon(look)
  }
  assert.equal(one.agent.isSynced, false)
  await one.agent.start()
  look()
  one.clock.settle()
  const settled = seen.filter(([, announced]) => announced <= 1)
  assert.ok(settled.length >= Math.floor(300 / 64), 'several turns settle addresses, and nothing is announced in them')
  assert.deepEqual([seen.at(-1)?.[0], one.agent.isSynced], [true, true])
  assert.ok(!seen.slice(0, -1).some(([synced]) => synced), 'it is not said before')
  assert.equal(one.announced.length, 301)
  assert.equal(one.speaker.isSynced, true)
})

test('once it was synced it stays so while addresses are settled anew, also where nobody asked before', async (t) => {
  const { one, many } = settling(t, 300)
  await one.start(many)
  // Every Service is looked at anew.
  one.source.put(...objectsOf(wide.replace('198.18.0.0/16', '198.18.0.0/15')))
  one.source.flush()
  assert.equal(one.agent.isSynced, true)
  one.clock.settle()
  assert.equal(one.agent.isSynced, true)
})

test('a problem is logged once, however often the list is made anew, and once more when it comes back', async (t) => {
  const bad = policyWith('{peerAddress: nonsense, peerASN: 65000}', '{peerAddress: 192.168.1.1/32, peerASN: 65000}')
  const one = await life(t).start(bad + node + pool + web)
  assert.equal(one.lines(/error .*nonsense/), 1)
  one.put(db)
  one.put(slice('db').replace('10.244.1.5', '10.244.1.9'))
  assert.equal(one.lines(/error .*nonsense/), 1)
  one.put(smallestPolicy)
  assert.ok(!one.agent.problems.some(({ severity }) => severity === 'error'))
  one.put(bad)
  assert.equal(one.lines(/error .*nonsense/), 2)
})

test('sessions are logged when they are up and when they are lost', async (t) => {
  const one = await life(t).start(all)
  const [neighbor] = one.speaker.neighbors
  assert.ok(neighbor !== undefined)
  const peer = {
    ...neighbor,
    state: 'Established' as const,
    since: '',
    capabilities: [],
    gracefulRestart: false,
    families: [],
    messagesIn: 0,
    messagesOut: 0,
    updatesIn: 0,
    updatesOut: 0,
    flaps: 0,
    transitions: [],
  }
  one.speaker.tell(peer, 'OpenConfirm')
  one.speaker.tell({ ...peer, state: 'Idle' }, 'Established')
  one.speaker.tell({ ...peer, state: 'Connect' }, 'Idle')
  assert.deepEqual(one.log.lines.slice(-3), ['info session established', 'warn session lost', 'debug session state'])
})

test('full maps are one fault, said once, which ends with its cause', async (t) => {
  const one = await life(t, { maxEntries: { addresses: 2 } }).start(all)
  assert.deepEqual(one.announced, [podCidr, `${second}/32`])
  one.clock.advance(60_000)
  const [fault] = one.agent.faults
  assert.equal(fault?.key, 'program ERR_MAP_FULL')
  assert.match(fault.text, /default\/db: map addresses takes no more than 2 entries/)
  assert.ok(fault.times > 4, `${fault.times} failures counted`)
  assert.equal(one.lines(/map addresses takes no more/), 1)
  one.remove(web)
  one.clock.advance(60_000)
  assert.deepEqual([one.announced, one.faults], [[podCidr, `${first}/32`], []])
  assert.ok((one.agent.failures.get('program ERR_MAP_FULL') ?? 0) >= fault.times)
})

test('a map that cannot be made larger is a fault for as long as it is, also where nothing else happens', async (t) => {
  const one = await life(t).start(all)
  const problem = { subject: 'frontends', text: 'map frontends is 90 % full and cannot be made larger', times: 1 }
  const faults = (): readonly unknown[] => one.agent.faults.map(({ key, text, times }) => [key, text, times])
  const text = `frontends: ${problem.text}`
  one.datapath.problems.push(problem)
  one.clock.advance(1_000)
  assert.deepEqual(faults(), [['map', text, 1]])
  one.clock.advance(30_000)
  assert.deepEqual(faults(), [['map', text, 1]])
  one.datapath.problems[0] = { ...problem, times: 2 }
  one.clock.advance(1_000)
  assert.deepEqual([faults(), one.lines(/cannot be made larger/)], [[['map', text, 2]], 1])
  one.datapath.problems.pop()
  one.clock.advance(1_000)
  assert.deepEqual(faults(), [])
})

test('programs that cannot be attached: nothing is announced but PodCIDRs, and it is tried until it works', async (t) => {
  const one = life(t)
  one.datapath.refused.add('eth0')
  await one.start(all)
  assert.deepEqual(one.announced, [podCidr])
  assert.equal(one.agent.order.verdict('default/web').code, 'NoUplink')
  one.clock.advance(60_000)
  assert.deepEqual(one.faults, ['attach', 'uplink'])
  assert.equal(one.lines(/EBUSY/), 1)
  one.datapath.refused.clear()
  one.clock.advance(30_000)
  assert.deepEqual([one.announced, one.faults], [everything, []])
})

test('an uplink that is away for less than a second changes nothing at the routers, and has its programs at once', async (t) => {
  const one = await life(t).start(all)
  const before = one.speaker.posted.length
  one.links.set([])
  one.clock.advance(900)
  one.links.set([{ ...eth0, index: 7 }], [])
  one.clock.settle()
  assert.deepEqual(one.datapath.status.interfaces, ['eth0'])
  one.clock.advance(5_000)
  assert.equal(one.speaker.posted.length, before)
  assert.deepEqual(one.faults, [])
})

test('without any uplink for a second every Service is withdrawn, none is removed, and all are back with the uplink', async (t) => {
  const one = await life(t).start(all)
  one.links.set([])
  one.clock.advance(1_100)
  assert.deepEqual([one.announced, one.faults], [[podCidr], ['uplink']])
  one.clock.advance(60_000)
  assert.equal(one.served.length, 2)
  one.links.set([{ ...eth0, index: 8 }])
  one.clock.advance(10)
  assert.deepEqual([one.announced, one.faults], [everything, []])
})

test('a restart with everything in place takes over what is held, and nothing is written, withdrawn or removed', async (t) => {
  const one = await life(t).start(all)
  await one.die()
  const dump = one.datapath.maps.dump()
  const next = await one.restart().start(all)
  assert.deepEqual([next.announced, next.datapath.maps.dump()], [everything, dump])
  assert.equal(next.speaker.isSynced, true)
  next.clock.advance(60_000)
  assert.equal(next.datapath.maps.dump(), dump)
})

test('what was removed while no agent ran is withdrawn by End-of-RIB and drains, without a wait', async (t) => {
  const one = await life(t).start(all)
  await one.die()
  const next = await one.restart().start(smallestPolicy + node + pool + db)
  assert.deepEqual([next.speaker.isSynced, next.served.length], [true, 2])
  next.clock.advance(5_000)
  assert.deepEqual(next.served, [`${first}:80/TCP`])
})

const broken: readonly (readonly [string, string])[] = [
  ['a policy whose only neighbor is broken', all.replace('192.168.1.1/32', '192.168.1.999')],
  [
    'a pool with a range that is reversed',
    all.replace('{cidr: 198.51.100.0/28}', '{start: 198.51.100.9, stop: 198.51.100.0}'),
  ],
  [
    'a Service that is broken',
    all.replace('{type: LoadBalancer, ports: [{name: http, port: 80}]}', '{type: LoadBalancer, ports: 7}'),
  ],
]
for (const [title, text] of broken) {
  test(`${title} at a restart: End-of-RIB and removals wait for it, up to a minute`, async (t) => {
    const one = await life(t).start(all)
    await one.die()
    const next = await one.restart().start(text)
    assert.deepEqual([next.speaker.isSynced, next.served.length], [false, 2])
    assert.equal(next.lines(/warn in force before the restart and not now: /), 1)
    assert.match(next.agent.restartNote ?? '', /^in force before the restart and not now: .* wait up to 60 s for it$/)
    next.clock.advance(30_000)
    assert.deepEqual([next.speaker.isSynced, next.served.length], [false, 2])
    next.put(all)
    assert.equal(next.speaker.isSynced, true)
    assert.deepEqual([next.announced, next.agent.restartNote], [everything, undefined])

    const last = await next.restart().start(text)
    last.clock.advance(60_002)
    assert.deepEqual([last.speaker.isSynced, last.agent.restartNote], [true, undefined])
    assert.equal(last.lines(/warn waited long enough after the restart, given up: /), 1)
  })
}

test('an error that takes nothing from what was in force holds nothing back', async (t) => {
  const one = await life(t).start(all)
  await one.die()
  const bad = service('new').replace('ports: [{name: http, port: 80}]', 'ports: 7')
  assert.equal((await one.restart().start(all + bad)).speaker.isSynced, true)
})

test('an empty source after a restart removes nothing until it had its time', async (t) => {
  const one = await life(t).start(all)
  await one.die()
  const next = await one.restart().start('')
  assert.deepEqual([next.speaker.isSynced, next.served.length], [false, 2])
  next.put(all)
  assert.deepEqual([next.speaker.isSynced, next.announced], [true, everything])
})

test('an hour in which the process stood still is no time that an empty source had', async (t) => {
  const one = await life(t).start(all)
  await one.die()
  const next = await one.restart().start('')
  next.clock.advance(10_000)
  next.clock.standStill(3_600_000)
  assert.deepEqual([next.speaker.isSynced, next.served.length], [false, 2])
  next.put(all)
  assert.deepEqual([next.speaker.isSynced, next.announced], [true, everything])
  const last = await next.restart().start('')
  last.clock.advance(59_999)
  assert.equal(last.speaker.isSynced, false)
  last.clock.advance(1)
  assert.equal(last.speaker.isSynced, true)
})

test('a source that cannot be reached after a restart takes nothing away, however long that lasts', async (t) => {
  const one = await life(t).start(all)
  await one.die()
  const next = one.restart()
  next.source.isReachable = false
  await next.start('')
  next.clock.advance(600_000)
  assert.deepEqual([next.speaker.isSynced, next.served.length, next.faults], [false, 2, ['restart']])
  next.source.isReachable = true
  next.put(all)
  next.clock.advance(30_000)
  assert.deepEqual([next.speaker.isSynced, next.announced, next.faults], [true, everything, []])
})

test('a first start waits for nothing, whatever is broken', async (t) => {
  const one = await life(t).start(all.replace('192.168.1.1/32', '192.168.1.999'))
  assert.equal(one.speaker.isSynced, true)
})

test('a state directory that goes away costs the memory of a restart, not the agent, and is said for each use', async (t) => {
  const one = await life(t).start(all)
  const away = `${one.stateDir}.away`
  renameSync(one.stateDir, away)
  writeFileSync(one.stateDir, 'something else')
  one.remove(db)
  const isSo =
    (...keys: readonly string[]) =>
    (): boolean => {
      one.clock.advance(1_000)
      return one.faults.join() === keys.join()
    }
  await waitFor('both faults', isSo('state record', 'state mark'))
  assert.deepEqual([one.lines(/takes no mark/), one.lines(/takes no record/)], [1, 1])
  assert.deepEqual(one.announced, [podCidr, `${second}/32`])
  rmSync(one.stateDir)
  renameSync(away, one.stateDir)
  await waitFor('no fault, though nothing happens', isSo())
})

test('a peer that is the default gateway follows the route, and stays while there is none', async (t) => {
  const config = `---
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {name: gateway}
spec:
  bgpInstances:
  - name: a
    localASN: 65001
    peers: [{name: tor, autoDiscovery: {mode: DefaultGateway, defaultGateway: {addressFamily: ipv4}}}]
`
  const seen: { gateways: DefaultGateways } = { gateways: {} }
  const one = life(t, {}, { gateways: () => seen.gateways })
  const peers = (): readonly string[] => one.agent.speaker?.neighbors.map(({ peerAddress }) => peerAddress) ?? []
  const route = (address?: string): void => {
    seen.gateways = address === undefined ? {} : { ipv4: { address, device: 'eth0' } }
    one.links.set([eth0])
    one.clock.advance(2_000)
  }
  await one.start(config + node)
  assert.deepEqual(peers(), [])
  route('10.0.0.1')
  assert.deepEqual(peers(), ['10.0.0.1'])
  route()
  assert.deepEqual(peers(), ['10.0.0.1'], 'a moment without a route is not another router')
  route('10.0.0.254')
  assert.deepEqual(peers(), ['10.0.0.254'])
})

test('an agent that was stopped does nothing more, and the kernel keeps what it has', async (t) => {
  const one = await life(t).start(all)
  one.remove(web)
  await one.agent.stop()
  const posted = one.speaker.posted.length
  assert.deepEqual(one.record.read()?.prefixes.toSorted(), [podCidr, `${first}/32`])
  one.put(all)
  one.clock.advance(600_000)
  assert.deepEqual([one.speaker.posted.length, one.served.length], [posted, 2])
})
