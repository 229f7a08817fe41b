/**
 * A whole node in memory, from its objects to the octets that its routers read: End-of-RIB says that all that is wanted
 * was sent (RFC 4724 2), whatever has sessions begin while routes are on their way from the objects to the speaker.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { Agent } from '../../src/agent/agent.ts'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { InForceRecord } from '../../src/agent/in-force.ts'
import { MemoryLinks } from '../../src/agent/links.ts'
import { RestartMarker } from '../../src/agent/restart-marker.ts'
import type { Clock } from '../../src/clock/clock.ts'
import { createFakeDatapath } from '../../src/datapath/fake.ts'
import { parseAddress } from '../../src/ip/address.ts'
import { readDocuments } from '../../src/k8s/documents.ts'
import { MemorySource, type MemoryObject } from '../../src/k8s/memory-source.ts'
import { createTranslator, type TranslatorOptions } from '../../src/k8s/translate/translator.ts'
import type { ToSpeaker } from '../../src/speaker/protocol.ts'
import { type InMemoryHost, InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'
import { node, policyWith, pool, service, slice } from '../k8s/manifests.ts'
import { Recorded } from '../speaker/pair.ts'
import { Router, type RouterSession } from '../speaker/router.ts'
import { seen } from '../speaker/virtual.ts'

const objectsOf = (text: string): MemoryObject[] => readDocuments('test.yaml', text).flatMap(({ objects }) => objects)
const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const nodeAddress = '192.168.1.10'
const routerAddresses = ['192.168.1.1', '192.168.1.2'] as const
const neighbor = (text: string, asn: number): string =>
  `{peerAddress: ${text}/32, peerASN: ${asn}, gracefulRestart: {enabled: true}}`
const first = neighbor(routerAddresses[0], 65_000)
const one = policyWith(first)
const both = policyWith(first, neighbor(routerAddresses[1], 65_010))
const nothingSelected = one.replace('expose-via-bgp: "true"', 'expose-via-bgp: "never"')
const wide = pool.replace('198.51.100.0/28', '198.18.0.0/16')
const servicesOf = (count: number): MemoryObject[] =>
  objectsOf(Array.from({ length: count }, (_, i) => service(`s${i}`) + slice(`s${i}`)).join(''))
/** Several turns of the translator, and many of the order. */
const services = servicesOf(600)
/** The PodCIDR is announced, too. */
const everything = services.length / 2 + 1

/** The clock of a host; what is done soon takes a turn of so many seconds. */
const clockOf = (host: InMemoryHost, turnSec: number): Clock => ({
  now: () => host.now(),
  monotonic: () => host.uptimeSec() * 1000,
  after: (ms, action) => host.after(ms / 1000, action),
  soon: (action) => void host.after(turnSec, action),
})

interface SiteOptions extends Pick<TranslatorOptions, 'nowMs'> {
  readonly turnSec?: number
}

/** A node, and the routers that it may be told to peer with. */
class Site {
  readonly network = new InMemoryNetwork()
  readonly source = new MemorySource()
  readonly host = this.network.host(address(nodeAddress))
  readonly routers = routerAddresses.map(
    (text, i) => new Router(this.network.host(address(text)), 65_000 + 10 * i, address(nodeAddress), []),
  ) as [Router, Router]
  readonly #datapath = createFakeDatapath()
  readonly #stateDir: string
  readonly #options: SiteOptions
  agent: Agent
  speaker: Recorded

  constructor(t: TestContext, options: SiteOptions = {}) {
    this.#stateDir = mkdtempSync(join(tmpdir(), 'end-of-rib-'))
    t.after(() => rmSync(this.#stateDir, { recursive: true }))
    this.#options = options
    const { agent, speaker } = this.#process()
    this.agent = agent
    this.speaker = speaker
  }

  #process(): { readonly agent: Agent; readonly speaker: Recorded } {
    const { turnSec = 0.005, ...own } = this.#options
    const marker = new RestartMarker(this.#stateDir)
    const restart = { isRestart: marker.isRestart, isForwardingPreserved: marker.isRestart }
    const speaker = new Recorded(undefined, restart, this.host)
    const links = new MemoryLinks()
    links.set([{ index: 2, name: 'eth0' }])
    const agent = new Agent({
      source: this.source,
      translator: createTranslator({
        nodeName: 'node-a',
        datapath: 'ebpf',
        secretsNamespace: 'kube-system',
        ...own,
      }),
      datapath: this.#datapath,
      // As between threads: later, and in this order.
      speaker: {
        post: (message: ToSpeaker) => this.host.soon(() => speaker.speaker.handle(message)),
        onPeer: () => {},
      },
      ...{ marker, links },
      record: new InForceRecord(this.#stateDir),
      clock: clockOf(this.host, turnSec),
      log: new MemoryLog(),
    })
    return { agent, speaker }
  }

  async start(...objects: readonly MemoryObject[]): Promise<RouterSession> {
    this.source.put(...objects)
    await this.agent.start()
    await this.speaker.speaker.start()
    return this.said(this.routers[0])
  }

  /** The process is gone and comes back; routers keep what they were told. */
  async restart(): Promise<void> {
    await this.agent.stop()
    this.speaker.speaker.handle({ type: 'stop', mode: 'restart', text: '' })
    Object.assign(this, this.#process())
    await this.agent.start()
    await this.speaker.speaker.start()
  }

  put(text: string): void {
    this.source.put(...objectsOf(text))
    this.source.flush()
  }

  /** The session that a router has when it has heard End-of-RIB on it, `limitSec` from now at the latest. */
  async said(router: Router, behind?: RouterSession, limitSec = 90): Promise<RouterSession> {
    const read = (): RouterSession | undefined =>
      router.session !== behind && router.session?.endOfRibs === 1 ? router.session : undefined
    return seen(this.network, 'End-of-RIB', read, limitSec)
  }
}

interface Scenario {
  /** The objects that are there before. */
  readonly before: string
  prepare?(site: Site): Promise<void>
  begin(site: Site): void | Promise<void>
  /** Longer ones where a router comes back by itself. */
  readonly turnSec?: number
  /** Whose new session is looked at. */
  readonly router: 0 | 1
}

const scenarios: Readonly<Record<string, Scenario>> = {
  'a neighbor that is added': { before: one, begin: (site) => site.put(both), router: 1 },
  'a neighbor that is added and asks for its routes meanwhile': {
    before: one,
    begin: async (site) => {
      site.put(both)
      await seen(site.network, 'a route', () => (site.routers[1].session?.table.size ?? 0) > 1)
      site.routers[1].askForRoutes()
    },
    router: 1,
  },
  'a neighbor that is added, and a soft reset out meanwhile': {
    before: one,
    begin: async (site) => {
      site.put(both)
      await seen(site.network, 'a route', () => (site.routers[1].session?.table.size ?? 0) > 1)
      site.speaker.speaker.handle({ type: 'command', id: 1, command: { what: 'reset', peer: '*', soft: 'out' } })
    },
    router: 1,
  },
  'a neighbor that has another AS of ours': {
    before: one,
    begin: (site) => site.put(one.replace('localASN: 65001', 'localASN: 65002')),
    router: 0,
  },
  'another timer of a neighbor, and a session that is lost in this moment': {
    before: one,
    begin: (site) => {
      site.put(one.replace('peerASN: 65000', 'peerASN: 65000, holdTimeSeconds: 30, keepAliveTimeSeconds: 10'))
      site.routers[0].restart([])
    },
    router: 0,
    turnSec: 0.5,
  },
  'a policy that selects more, and a session that is lost in this moment': {
    before: nothingSelected,
    begin: (site) => {
      site.routers[0].restart([])
      site.put(one)
    },
    router: 0,
    turnSec: 0.5,
  },
  'an agent that restarts': { before: one, begin: (site) => site.restart(), router: 0 },
  'an agent that restarts, and a neighbor that is added in this moment': {
    before: one,
    begin: async (site) => {
      await site.restart()
      site.put(both)
    },
    router: 1,
  },
  'the end of a drain, and a neighbor that is added in this moment': {
    before: one,
    prepare: async (site) => {
      site.agent.setDrained(true)
      await seen(site.network, 'a withdrawal', () => site.routers[0].session?.table.size === 0)
    },
    begin: (site) => {
      site.agent.setDrained(false)
      site.put(both)
    },
    router: 1,
  },
  'an uplink that is back, and a session that is lost in this moment': {
    before: one,
    prepare: async (site) => {
      site.agent.order.setServing(false)
      await seen(site.network, 'a withdrawal', () => site.routers[0].session?.table.size === 1)
    },
    begin: (site) => {
      site.agent.order.setServing(true)
      site.routers[0].restart([])
    },
    router: 0,
    turnSec: 0.5,
  },
}

for (const [name, { before, prepare, begin, router, turnSec }] of Object.entries(scenarios))
  test(`End-of-RIB follows every route that is wanted: ${name} (RFC 4724 2)`, async (t) => {
    const site = new Site(t, turnSec === undefined ? {} : { turnSec })
    await site.start(...objectsOf(before + node + wide), ...services)
    await prepare?.(site)
    const earlier = site.routers[router].session
    await begin(site)
    const session = await site.said(site.routers[router], earlier)
    assert.equal(session.sizeAtEndOfRib, everything)
    await site.network.advance(30)
    assert.deepEqual([session.isUp, session.table.size, session.endOfRibs, session.faults], [true, everything, 1, []])
  })

test('a session has End-of-RIB in a minute where changes come for ever, and more slowly than they come they are told', async (t) => {
  // One Service per turn of the translator: what comes is never done.
  let ms = 0
  const site = new Site(t, { turnSec: 0.1, nowMs: () => (ms += 10) })
  const some = servicesOf(20)
  await site.start(...objectsOf(one + node + wide), ...some)
  let count = 0
  let isOver = false
  const flood = (): void => {
    if (isOver) return
    for (let end = count + 5; count < end; count++)
      site.source.put(...objectsOf(slice(`s${count % 5}`).replace('10.244.1.5', `10.244.1.${5 + (count % 200)}`)))
    site.source.flush()
    site.host.after(0.1, flood)
  }
  flood()
  // The second time the flood has lasted for longer than anybody waits.
  for (let i = 0; i < 2; i++) {
    const earlier = site.routers[1].session
    site.put(both)
    const begun = site.network.sec
    const { sizeAtEndOfRib = 0 } = await site.said(site.routers[1], earlier)
    const waitedSec = site.network.sec - begun
    assert.ok(waitedSec > 50 && waitedSec < 70, `${waitedSec} s`)
    assert.ok(sizeAtEndOfRib >= 16, 'the PodCIDR, and every Service that does not change')
    site.put(one)
    await site.network.advance(10)
  }
  const { session } = site.routers[1]
  assert.equal(session?.isUp, false)
  isOver = true
  await site.network.advance(10)
  site.put(both)
  assert.equal((await site.said(site.routers[1], session)).sizeAtEndOfRib, 21, 'the next one is whole again')
})
