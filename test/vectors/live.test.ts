/**
 * Every vector on the live speaker over TCP: each in a session of its own, from a source address of its own, while one
 * more session stays up through all of them. A valid UPDATE of a sentinel prefix after the vector tells when the
 * speaker
 * has dealt with it.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { after, before, test } from 'node:test'
import { encodeOpen } from '../../src/bgp/messages/open.ts'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import { ipv4Unicast, ipv6Unicast, Origin } from '../../src/bgp/messages/types.ts'
import type { Capability } from '../../src/bgp/messages/capabilities.ts'
import { encodeUpdate } from '../../src/bgp/messages/update.ts'
import { unpackAnswer } from '../../src/speaker/packed-paths.ts'
import type { FromSpeaker } from '../../src/speaker/protocol.ts'
import { system } from '../../src/speaker/session/system.ts'
import { Speaker } from '../../src/speaker/speaker.ts'
import type { Neighbor } from '../../src/desired/model.ts'
import { parseAddress } from '../../src/ip/address.ts'
import { parsePrefix } from '../../src/ip/prefix.ts'
import { waitFor } from '../wait.ts'

interface Vector {
  readonly id: string
  readonly title: string
  readonly phase: 'open' | 'confirm' | 'est'
  readonly send: string
  readonly expect: string
  readonly opt: { readonly as2?: boolean; readonly ibgp?: boolean; readonly ownas?: boolean; readonly slow?: boolean }
}

/** vectors.json, and what it leaves out of the table it is from. */
const vectors: readonly Vector[] = ['vectors.json', 'boundary.json'].flatMap((file): readonly Vector[] =>
  JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8')),
)
const port = 20_000 + (process.pid % 12_000)
const speakerAddress = '127.0.0.31'
const peerAs = 65_001
/** The AS that vector A13 has in its path as the receiver's. */
const ownAs = 1
const sentinel = '100.127.0.0/24'
/** Announced before each vector, so that a withdrawal can be seen: prefixes that the vectors announce again. */
const standing = { ipv4: '100.64.0.0/24', ipv6: '2001:db8:64::/48' }
const sourceOf = (index: number): string => `127.9.${index >> 7}.${(index & 127) + 1}`
const steadySource = '127.8.0.1'

type Page = Extract<FromSpeaker, { readonly type: 'answer' }>

class Observer {
  readonly transitions = new Map<string, string[]>()
  readonly #answers = new Map<number, (page: Page) => void>()
  #next = 1
  readonly speaker = new Speaker(
    { listen: { host: speakerAddress, port }, isRestart: false, isForwardingPreserved: false },
    system,
    (message: FromSpeaker) => {
      if (message.type === 'peer')
        this.transitions.set(message.peer.peerAddress, [
          ...(this.transitions.get(message.peer.peerAddress) ?? []),
          message.peer.state,
        ])
      if (message.type === 'answer') this.#answers.get(message.id)?.(unpackAnswer(message))
    },
  )

  async received(peer: string): Promise<string[]> {
    const families = ['ipv4-unicast', 'ipv6-unicast'] as const
    return (await Promise.all(families.map((family) => this.#receivedOf(family, peer)))).flat()
  }

  /** Page by page: an answer has a bound. */
  async #receivedOf(family: 'ipv4-unicast' | 'ipv6-unicast', peer: string): Promise<string[]> {
    const prefixes: string[] = []
    for (let from: number | undefined, isFirst = true; isFirst || from !== undefined; isFirst = false) {
      const page = await new Promise<Page>((resolve) => {
        const id = this.#next++
        this.#answers.set(id, resolve)
        const query = { what: 'routes', table: 'received', family, peer } as const
        this.speaker.handle({ type: 'query', id, query: from === undefined ? query : { ...query, from } })
      })
      prefixes.push(...(page.routes ?? []).map(({ prefix }) => prefix))
      from = page.next
    }
    return prefixes
  }
}

function neighbor(address: string, vector?: Vector): Neighbor {
  const localAsn = vector?.opt.ibgp === true ? peerAs : ownAs
  return {
    id: `${localAsn}/${address}`,
    source: { kind: 'test', name: 'vectors' },
    virtualRouter: 'vectors',
    localAsn,
    peerAsn: peerAs,
    peerAddress: address,
    peerPort: 179,
    routerId: '10.98.0.254',
    families: ['ipv4-unicast', 'ipv6-unicast'],
    holdTimeSec: 90,
    keepaliveSec: 30,
    connectRetrySec: 5,
    multihopTtl: 1,
    passive: true,
    nextHops: { 'ipv4-unicast': '10.98.0.254', 'ipv6-unicast': 'fd98::fe' },
  }
}

/** A router of raw bytes. */
class RawRouter {
  #received = Buffer.alloc(0)
  isClosed = false
  readonly socket: net.Socket

  constructor(source: string) {
    this.socket = net.connect({ host: speakerAddress, port, localAddress: source, noDelay: true })
    this.socket.on('data', (chunk: Buffer) => (this.#received = Buffer.concat([this.#received, chunk])))
    this.socket.on('error', () => (this.isClosed = true))
    this.socket.on('close', () => (this.isClosed = true))
  }

  /** Type octet and body of what arrived, as hexadecimal text. */
  get messages(): string[] {
    const all: string[] = []
    for (let at = 0; at + 19 <= this.#received.length; at += this.#received.readUInt16BE(at + 16))
      all.push(this.#received.subarray(at + 18, at + this.#received.readUInt16BE(at + 16)).toString('hex'))
    return all
  }

  has(type: number): boolean {
    return this.messages.some((message) => message.startsWith(`0${type}`))
  }
}

function open({ opt }: Pick<Vector, 'opt'>): Uint8Array {
  const capabilities: Capability[] = [
    { type: 'multiprotocol', family: ipv4Unicast },
    { type: 'multiprotocol', family: ipv6Unicast },
    { type: 'routeRefresh' },
    ...(opt.as2 === true ? [] : [{ type: 'fourOctetAs', asn: peerAs } as const]),
  ]
  return encodeOpen({ type: 'open', version: 4, myAs: peerAs, holdTimeSec: 90, bgpId: 0x0a620001, capabilities })
}

function announce({ opt }: Pick<Vector, 'opt'>, prefixes: readonly string[]): Uint8Array {
  const isExternal = opt.ibgp !== true
  const ctx = {
    fourOctetAs: opt.as2 !== true,
    isExternal,
    families: [ipv4Unicast, ipv6Unicast],
    maxMessageBytes: 4096,
    extendedNextHop: false,
    addPathReceive: [],
  }
  const parsed = prefixes.map((prefix) => parsePrefix(prefix) ?? 0)
  const v6 = parsed.filter((prefix) => typeof prefix === 'string')
  return encodeUpdate(
    {
      type: 'update',
      withdrawn: [],
      nlri: parsed.filter((prefix) => typeof prefix === 'number'),
      attributes: {
        origin: Origin.igp,
        asPath: isExternal ? [{ type: 2, asns: [peerAs] }] : [],
        nextHop: 0x0a620001,
        ...(isExternal ? {} : { localPref: 100 }),
      },
      ...(v6.length === 0
        ? {}
        : { mpReach: { family: ipv6Unicast, nextHop: parseAddress('fd98::1') ?? '', prefixes: v6 } }),
    },
    ctx,
  )
}

/** What the speaker did, in the words of `expect`. */
async function outcome(vector: Vector, source: string): Promise<string> {
  const router = new RawRouter(source)
  try {
    await waitFor('the connection', () => router.socket.readyState === 'open')
    const bytes = Buffer.from(vector.send, 'hex')
    if (vector.phase !== 'open') {
      router.socket.write(open(vector))
      await waitFor('the OPEN of the speaker', () => router.has(1) && router.has(4))
    }
    if (vector.phase === 'est') {
      router.socket.write(keepaliveBytes)
      router.socket.write(announce(vector, [standing.ipv4, standing.ipv6]))
      await waitFor('the standing routes', async () => (await observer.received(source)).length === 2)
    }
    if (vector.opt.slow === true) for (const octet of bytes) router.socket.write(Uint8Array.of(octet))
    else router.socket.write(bytes)
    return vector.phase === 'est' ? await afterUpdate(vector, router, source) : await afterOpen(vector, router)
  } finally {
    router.socket.destroy()
  }
}

const notificationOf = (router: RawRouter): string | undefined => {
  const message = router.messages.find((text) => text.startsWith('03'))
  return message === undefined
    ? undefined
    : `reset:${Number.parseInt(message.slice(2, 4), 16)}/${Number.parseInt(message.slice(4, 6), 16)}:${message.slice(6)}`
}

async function afterOpen(vector: Vector, router: RawRouter): Promise<string> {
  const isAnswered = (): boolean =>
    router.isClosed || notificationOf(router) !== undefined || (vector.phase === 'open' && router.has(4))
  await waitFor('an answer', isAnswered)
  // Closing without a word is how a NOTIFICATION is taken (RFC 4271 6.4).
  return notificationOf(router) ?? (router.isClosed ? 'ignore' : 'accept')
}

async function afterUpdate(vector: Vector, router: RawRouter, source: string): Promise<string> {
  router.socket.write(announce(vector, [sentinel]))
  const routes = await waitFor('the speaker to have dealt with it', async () => {
    if (router.isClosed || notificationOf(router) !== undefined) return []
    const found = await observer.received(source)
    return found.includes(sentinel) && found
  })
  const notification = notificationOf(router)
  if (notification !== undefined) return notification
  if (router.isClosed) return 'ignore'
  return [standing.ipv4, standing.ipv6].every((prefix) => routes.includes(prefix)) ? 'kept' : 'withdraw'
}

function fits(found: string, expected: string): boolean {
  return expected.split('|').some((one) => {
    if (!one.startsWith('reset:'))
      return (
        found === one ||
        (found === 'kept' && one !== 'withdraw' && !expected.startsWith('withdraw|ignore')) ||
        (found === 'accept' && one === 'ignore')
      )
    return one.split(':')[2] === undefined ? found.startsWith(`${one}:`) : found === one
  })
}

const observer = new Observer()
const steady = { router: undefined as RawRouter | undefined }
let right = 0

before(async () => {
  await observer.speaker.start()
  observer.speaker.handle({
    type: 'configure',
    neighbors: [neighbor(steadySource), ...vectors.map((vector, i) => neighbor(sourceOf(i), vector))],
  })
  steady.router = new RawRouter(steadySource)
  steady.router.socket.write(open({ opt: {} }))
  await waitFor('the steady session', () => steady.router?.has(4) === true)
  steady.router.socket.write(keepaliveBytes)
  await waitFor('the steady session', () => observer.transitions.get(steadySource)?.at(-1) === 'Established')
})

after(() => {
  steady.router?.socket.destroy()
  observer.speaker.handle({ type: 'stop', mode: 'shutdown', text: '' })
})

for (const [i, vector] of vectors.entries()) {
  test(`${vector.id} ${vector.title}, on the wire: ${vector.expect}`, async () => {
    const found = await outcome(vector, sourceOf(i))
    assert.ok(fits(found, vector.expect), `found ${found}`)
    right++
  })
}

test('the other session never noticed', () => {
  assert.equal(observer.transitions.get(steadySource)?.at(-1), 'Established')
  assert.equal(steady.router?.isClosed, false)
})

test('the score', () => {
  console.log(`vectors on the live speaker: ${right} of ${vectors.length}`)
  assert.equal(right, vectors.length)
})
