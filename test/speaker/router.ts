/**
 * A router in memory that believes what it is told: it keeps the table that a speaker makes it have, refreshes and
 * restarts as RFC 7313 and RFC 4724 say, and counts what must not be.
 */
import { RefreshSubtype } from '../../src/bgp/messages/numbers.ts'
import assert from 'node:assert/strict'
import { decodeMessage } from '../../src/bgp/messages/decode.ts'
import { frameMessage } from '../../src/bgp/messages/header.ts'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import { encodeOpen } from '../../src/bgp/messages/open.ts'
import { encodeEndOfRib, packAnnouncements } from '../../src/bgp/messages/pack.ts'
import { encodeRouteRefresh } from '../../src/bgp/messages/route-refresh.ts'
import { type CodecContext, ipv4Unicast, type PathAttributes } from '../../src/bgp/messages/types.ts'
import type { DecodedUpdate } from '../../src/bgp/messages/update.ts'
import { type Address, parseIpv4 } from '../../src/ip/address.ts'
import type { Prefix } from '../../src/ip/prefix.ts'
import type { Transport } from '../../src/speaker/session/environment.ts'
import type { InMemoryHost } from '../../src/speaker/session/in-memory.ts'

const codec: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast],
  maxMessageBytes: 4096,
  extendedNextHop: false,
  addPathReceive: [],
}
const refresh = (subtype: number): Uint8Array =>
  encodeRouteRefresh({ type: 'routeRefresh', family: ipv4Unicast, subtype })

/** What a router heard on one connection. */
export class RouterSession {
  readonly table = new Map<Prefix, PathAttributes>()
  readonly faults: string[] = []
  /** UPDATEs, End-of-RIB among them. */
  updates = 0
  endOfRibs = 0
  /** What the table had when the first one came. */
  sizeAtEndOfRib: number | undefined
  begun = 0
  ended = 0
  /** Of the NOTIFICATION that ended it. */
  notification: string | undefined
  isUp = true
  #stale: Set<Prefix> | undefined
  #received: Uint8Array = new Uint8Array(0)
  readonly #transport: Transport
  readonly #router: Router

  constructor(transport: Transport, router: Router) {
    this.#transport = transport
    this.#router = router
    transport.attach({
      connected: () => {},
      data: (bytes) => this.#read(bytes),
      drained: () => {},
      failed: () => (this.isUp = false),
      closed: () => (this.isUp = false),
    })
    this.say(router.open(), keepaliveBytes)
    this.#keepAlive()
    this.announce()
  }

  say(...messages: readonly Uint8Array[]): void {
    if (this.isUp) this.#transport.write(Buffer.concat(messages))
  }

  /** Its own routes in small messages, then End-of-RIB. */
  announce(): void {
    this.say(...this.#router.routes.map((prefix) => this.#update(prefix)), encodeEndOfRib(ipv4Unicast))
  }

  pause(): void {
    this.#transport.pause()
  }

  resume(): void {
    this.#transport.resume()
  }

  lose(): void {
    this.isUp = false
    this.#transport.destroy()
  }

  #update(prefix: Prefix): Uint8Array {
    const attributes = { origin: 0, asPath: [{ type: 2, asns: [this.#router.asn] }], nextHop: this.#router.address }
    return packAnnouncements(attributes, [prefix], ipv4Unicast, codec).bytes
  }

  #keepAlive(): void {
    this.#router.host.after(10, () => {
      this.say(keepaliveBytes)
      if (this.isUp) this.#keepAlive()
    })
  }

  #read(bytes: Uint8Array): void {
    const all = this.#received.length === 0 ? bytes : Uint8Array.from(Buffer.concat([this.#received, bytes]))
    let at = 0
    for (;;) {
      const frame = frameMessage(all, at, all.length, 4096)
      if (frame.kind === 'fault') return assert.fail(frame.fault.reason)
      if (frame.kind === 'more') break
      at += frame.length
      const decoded = decodeMessage(frame.type, frame.body, codec)
      if (!decoded.ok) return assert.fail(decoded.fault.reason)
      if (this.notification !== undefined) this.faults.push('a message behind a NOTIFICATION')
      const { message } = decoded.value
      if (message.type === 'notification') this.notification = `${message.code}/${message.subcode}`
      if (message.type === 'update') this.#learn(decoded.value as DecodedUpdate)
      if (message.type === 'routeRefresh') this.#refreshed(message.subtype)
    }
    this.#received = all.slice(at)
  }

  #learn({ message, endOfRib }: DecodedUpdate): void {
    this.updates++
    if (endOfRib !== undefined && ++this.endOfRibs > 1) this.faults.push('a second End-of-RIB')
    if (endOfRib !== undefined) this.sizeAtEndOfRib ??= this.table.size
    for (const gone of message.withdrawn) this.table.delete(gone)
    for (const reached of message.nlri) {
      this.table.set(reached, message.attributes)
      this.#stale?.delete(reached)
    }
  }

  #refreshed(subtype: number): void {
    if (subtype === RefreshSubtype.request) {
      this.say(refresh(RefreshSubtype.begin), ...this.#router.routes.map((prefix) => this.#update(prefix)))
      // Not at once: something may happen in between.
      this.#router.host.after(0.02, () => this.say(refresh(RefreshSubtype.end)))
    } else if (subtype === RefreshSubtype.begin) {
      if (this.endOfRibs === 0) this.faults.push('BoRR before End-of-RIB')
      if (this.#stale !== undefined) this.faults.push('BoRR within a refresh')
      this.#stale = new Set(this.table.keys())
      this.begun++
    } else {
      if (this.#stale === undefined) this.faults.push('EoRR without BoRR')
      for (const prefix of this.#stale ?? []) this.table.delete(prefix)
      this.#stale = undefined
      this.ended++
    }
  }
}

/** Waits to be dialled. */
export class Router {
  readonly host: InMemoryHost
  readonly address: Address
  readonly asn: number
  /** The latest last. */
  readonly sessions: RouterSession[] = []
  /** What it announces; a change is said with the next session or refresh. */
  routes: readonly Prefix[]
  #isRestarting = false

  constructor(host: InMemoryHost, asn: number, speaker: Address, routes: readonly Prefix[]) {
    this.host = host
    this.address = host.addresses[0] as Address
    this.asn = asn
    this.routes = routes
    void host
      .listen({ host: '::', port: 179, onRefused: () => {} })
      .then((listener) =>
        listener.setPeers([
          { address: speaker, accept: (transport) => this.sessions.push(new RouterSession(transport, this)) },
        ]),
      )
  }

  get session(): RouterSession | undefined {
    return this.sessions.at(-1)
  }

  /** Is lost without a word and comes back, with what it announces then. */
  restart(routes: readonly Prefix[]): void {
    this.#isRestarting = true
    this.routes = routes
    this.session?.lose()
  }

  /** Reads nothing for so long; what it says meanwhile is said. */
  deafen(sec: number): void {
    const { session } = this
    session?.pause()
    this.host.after(sec, () => session?.resume())
  }

  askForRoutes(): void {
    this.session?.say(refresh(RefreshSubtype.request))
  }

  open(): Uint8Array {
    return encodeOpen({
      type: 'open',
      version: 4,
      myAs: this.asn,
      holdTimeSec: 90,
      bgpId: typeof this.address === 'number' ? this.address : (parseIpv4('192.0.2.254') ?? 0),
      capabilities: [
        { type: 'multiprotocol', family: ipv4Unicast },
        { type: 'fourOctetAs', asn: this.asn },
        { type: 'routeRefresh' },
        { type: 'enhancedRouteRefresh' },
        {
          type: 'gracefulRestart',
          restartState: this.#isRestarting,
          notification: true,
          restartTimeSec: 120,
          families: [{ family: ipv4Unicast, forwarding: true }],
        },
      ],
    })
  }
}
