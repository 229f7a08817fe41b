/** What a scenario works with: a router that runs, and Herald's speaker as its neighbor. */
import assert from 'node:assert/strict'
import type { Neighbor, RouteAttributes } from '../../src/desired/model.ts'
import type { PeerSnapshot, PrefixRoutes, ResetReason } from '../../src/speaker/protocol.ts'
import { waitFor } from '../wait.ts'
import { messageOf } from '../../src/errors.ts'
import type { Capture } from './capture.ts'
import type { Link, Side } from './link.ts'
import { neighborOf, type Peering, type Transport } from './peering.ts'
import type { RouterDaemon, RouterRoute, RouterSetup } from './router-daemon.ts'
import { SpeakerProcess } from './speaker.ts'

export const deadline = { deadlineMs: 30_000, everyMs: 100 }

export class Rig {
  readonly link: Link
  readonly router: RouterDaemon
  readonly capture: Capture
  speaker: SpeakerProcess
  #peerings: readonly Peering[] = []

  constructor(link: Link, router: RouterDaemon, capture: Capture) {
    this.link = link
    this.router = router
    this.capture = capture
    this.speaker = new SpeakerProcess(link, {
      listen: { host: '::', port: 179 },
      isRestart: false,
      isForwardingPreserved: false,
    })
  }

  /** Both sides configured alike; `Established` is not waited for. */
  async begin(setup: RouterSetup): Promise<void> {
    this.#peerings = setup.peerings
    await this.capture.next()
    await this.router.start(setup)
    this.configure()
  }

  async end(): Promise<void> {
    await this.speaker.kill()
    await this.router.kill()
  }

  get neighbors(): readonly Neighbor[] {
    return this.#peerings.map((each) => neighborOf(each, this.router.heraldAsn, each.routerAsn ?? this.router.asn))
  }

  /** Tells the speaker its neighbors, with these differences. */
  configure(differences: Partial<Neighbor> = {}): void {
    this.speaker.post({
      type: 'configure',
      neighbors: this.neighbors.map((neighbor) => ({ ...neighbor, ...differences })),
    })
  }

  /** The node is drained: its routes are said to go, and then go; the sessions stay (RFC 8326). */
  drain(): void {
    this.speaker.post({ type: 'configure', neighbors: this.neighbors, isDraining: true })
  }

  /** Ends all sessions (Cease/Peer De-configured); `configure` begins new ones, without an idle hold. */
  deconfigure(): void {
    this.speaker.post({ type: 'configure', neighbors: [] })
  }

  /** TCP connections of BGP between the two, also those of which one side has not read the end. */
  async connections(side: Side = 'dut'): Promise<number> {
    const states = ['state', 'established', 'state', 'close-wait']
    return (await this.link.in(side, 'ss', '-Htn', ...states, '( sport = :179 or dport = :179 )'))
      .split('\n')
      .filter(Boolean).length
  }

  /** A speaker that follows one that was killed or stopped for a restart, and kept its forwarding. */
  restartSpeaker(): void {
    this.speaker = new SpeakerProcess(this.link, {
      listen: { host: '::', port: 179 },
      isRestart: true,
      isForwardingPreserved: true,
    })
    this.configure()
  }

  /** To all neighbors. */
  announce(prefix: string, attributes: RouteAttributes = {}): void {
    this.speaker.post({
      type: 'routes',
      prefixes: [
        { prefix, routes: [{ neighbors: this.neighbors.map(({ id }) => id), attributes }] } satisfies PrefixRoutes,
      ],
    })
  }

  withdraw(prefix: string): void {
    this.speaker.post({ type: 'routes', prefixes: [{ prefix, routes: [] }] })
  }

  synced(): void {
    this.speaker.post({ type: 'synced' })
  }

  /** Both sides say so, of every session. */
  async isEstablished(): Promise<boolean> {
    const peers = await this.speaker.peers()
    if (peers.length !== this.#peerings.length || peers.some(({ state }) => state !== 'Established')) return false
    // Its count of one family says too little, but quickly, where there are many.
    if (this.#peerings.length > 3) return (await this.router.establishedCount()) === this.#peerings.length
    for (const { transport } of this.#peerings) if (!(await this.router.isEstablished(transport))) return false
    return true
  }

  async established(limits = deadline): Promise<void> {
    await waitFor(`all sessions with ${this.router.name} Established`, () => this.isEstablished(), limits)
  }

  /** The first peer as Herald shows it. */
  async peer(): Promise<PeerSnapshot> {
    const [peer] = await this.speaker.peers()
    assert.ok(peer, 'the speaker has a neighbor')
    return peer
  }

  /** The last reset of the first peer, once it is as asked. */
  reset(what: string, isWanted: (reset: ResetReason) => boolean): Promise<ResetReason> {
    return waitFor(
      what,
      async () => {
        const { lastReset } = await this.peer()
        return lastReset !== undefined && isWanted(lastReset) && lastReset
      },
      deadline,
    )
  }

  /** For a failure: what Herald knows, and the end of what the router says. */
  async account(): Promise<string> {
    for (const side of [this.router, this.speaker]) side.signal('SIGCONT')
    const peers = await this.speaker.peers().catch(messageOf)
    const reports = await Promise.all(
      this.#peerings.slice(0, 3).map(({ transport }) => this.router.report(transport).catch(messageOf)),
    )
    return [
      `Herald: ${JSON.stringify(peers, undefined, 1)}`,
      this.speaker.stderr,
      ...reports.map((report) => `${this.router.name}: ...${report.slice(-3_000)}`),
    ].join('\n')
  }

  /** A route of Herald once the router has it. */
  routed(
    session: Transport,
    prefix: string,
    isWanted: (route: RouterRoute) => boolean = () => true,
  ): Promise<RouterRoute> {
    return waitFor(
      `${prefix} at ${this.router.name}`,
      async () => {
        const route = await this.router.route(session, prefix)
        return route !== undefined && isWanted(route) && route
      },
      deadline,
    )
  }

  async gone(session: Transport, prefix: string): Promise<void> {
    await waitFor(
      `${prefix} no longer at ${this.router.name}`,
      async () => (await this.router.route(session, prefix)) === undefined,
      deadline,
    )
  }
}
