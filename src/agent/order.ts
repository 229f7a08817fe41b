/**
 * The order of things: serve before you announce, stop announcing before you stop serving.
 *
 *     wanted grows    1 program frontends   2 read them back   3 announce
 *     wanted shrinks  1 withdraw            2 drain (routers converge, packets under way are still served)   3 remove
 *
 * This file alone owns that order. It keeps what is wanted and what was done, works level-triggered on dirty
 * Services in bounded slices, and every step is idempotent, so a crash between any two converges: what an earlier
 * process left in the kernel is read at the start, is never removed before the first full set of wanted Services
 * is known, and then leaves through the same drain as everything else.
 *
 * PodCIDRs, and everything when nothing is programmed (`--datapath none`), are not gated.
 */
import type { PrefixRoutes } from '../speaker/protocol.ts'
import type { Datapath, ProgrammedFrontend } from '../datapath/datapath.ts'
import type { DesiredPodCidr, DesiredService, Frontend, Verdict } from '../desired/model.ts'
import { HeraldError, messageOf } from '../errors.ts'
import { isHeld } from '../reconcile/frontends.ts'
import { PrefixTable } from './prefix-table.ts'

export interface OrderPorts {
  readonly datapath: Pick<Datapath, 'status' | 'readAll' | 'read' | 'upsert' | 'remove'>
  /** Posts to the speaker; what is posted is in force until it is replaced. */
  announce(prefixes: readonly PrefixRoutes[]): void
  /** Runs `action` once, `afterMs` from now. */
  later(afterMs: number, action: () => void): void
  /** Something is left to do: call {@link Order.run} soon. */
  wake(): void
}

export interface OrderTimes {
  /** How long a withdrawn address is still served. */
  readonly drainMs: number
  /** First wait after a failed write; doubles up to `retryMaxMs`. */
  readonly retryMs: number
  readonly retryMaxMs: number
}

const podCidrOwner = '\u0000podCIDR'

export class Order {
  readonly #ports: OrderPorts
  readonly #times: OrderTimes
  readonly #isGated: boolean
  readonly #wanted = new Map<string, DesiredService>()
  /** What the kernel holds, as last read back. */
  readonly #held = new Map<string, ProgrammedFrontend>()
  /** Which Service wants a frontend; a frontend that nobody wants is draining or left over. */
  readonly #frontendOwner = new Map<string, string>()
  readonly #frontendsOf = new Map<string, readonly string[]>()
  readonly #dirty = new Set<string>()
  readonly #draining = new Map<string, number>()
  readonly #failures = new Map<string, { readonly message: string; readonly attempts: number }>()
  readonly #announced = new PrefixTable()
  #generation = 0

  constructor(ports: OrderPorts, times: OrderTimes) {
    this.#ports = ports
    this.#times = times
    this.#isGated = ports.datapath.status.kind !== 'none'
    for (const frontend of ports.datapath.readAll()) this.#held.set(frontend.id, frontend)
  }

  get pending(): number {
    return this.#dirty.size
  }

  get held(): ReadonlyMap<string, ProgrammedFrontend> {
    return this.#held
  }

  isAnnounced(prefix: string): boolean {
    return this.#announced.has(prefix)
  }

  service(key: string): DesiredService | undefined {
    return this.#wanted.get(key)
  }

  get services(): ReadonlyMap<string, DesiredService> {
    return this.#wanted
  }

  /** Takes the wanted state of some Services; `undefined` is a Service that is gone. */
  want(services: ReadonlyMap<string, DesiredService | undefined>): void {
    for (const [key, service] of services) {
      if (service === undefined) this.#wanted.delete(key)
      else this.#wanted.set(key, service)
      this.#dirty.add(key)
      this.#failures.delete(key)
    }
    if (this.#dirty.size > 0) this.#ports.wake()
  }

  /** Announces the node's PodCIDRs: the CNI serves them, so nothing is gated. */
  wantPodCidrs(podCidrs: readonly DesiredPodCidr[]): void {
    this.#post(
      this.#announced.set(
        podCidrOwner,
        podCidrs.flatMap((podCidr) => podCidr.routes),
      ),
    )
  }

  /** After the first full set of wanted Services was run: what the kernel holds beyond it may drain. */
  releaseLeftovers(): void {
    for (const id of this.#held.keys()) if (!this.#frontendOwner.has(id)) this.#drain(id)
  }

  /** Works on at most `limit` dirty Services; true when some are left. */
  run(limit: number): boolean {
    const batch = [...this.#dirty].slice(0, limit)
    const grown = new Set<string>()
    // Withdrawals first, over the whole batch: an address that moves between Services is never announced for the old
    // one.
    for (const key of batch) this.#shrink(key)
    for (const key of batch) {
      this.#dirty.delete(key)
      for (const prefix of this.#grow(key)) grown.add(prefix)
    }
    this.#post(grown)
    return this.#dirty.size > 0
  }

  /** The part of a Service's chain of reasons that this file knows. */
  verdict(key: string): Verdict {
    const service = this.#wanted.get(key)
    const failure = this.#failures.get(key)
    if (!this.#isGated)
      return {
        step: 'programmed',
        ok: true,
        code: 'NotGated',
        message: 'Nothing is programmed (--datapath none): the cluster serves the address itself',
      }
    if (failure !== undefined) {
      return {
        step: 'programmed',
        ok: false,
        code: 'ProgrammingFailed',
        message: failure.message,
        remedy: 'It is retried; `herald status` shows the fill of the maps',
      }
    }
    const missing = (service?.frontends ?? []).filter((frontend) => !this.isProgrammed(frontend))
    if (missing.length > 0)
      return {
        step: 'programmed',
        ok: false,
        code: 'Programming',
        message: `${missing.length} port(s) are being written`,
        remedy: 'Wait a moment',
      }
    return {
      step: 'programmed',
      ok: true,
      code: 'Programmed',
      message: `${service?.frontends.length ?? 0} port(s) read back from the kernel`,
    }
  }

  /** Withdraws what is no longer wanted and drains the frontends behind it. */
  #shrink(key: string): void {
    const service = this.#wanted.get(key)
    const stillWanted = new Set(service?.routes.map((route) => route.prefix))
    const kept = this.#announced.routesOf(key).filter((route) => stillWanted.has(route.prefix))
    if (kept.length < this.#announced.routesOf(key).length) this.#post(this.#announced.set(key, kept))

    const ids = new Set(service?.frontends.map((frontend) => frontend.id))
    for (const id of this.#frontendsOf.get(key) ?? []) {
      if (ids.has(id) || this.#frontendOwner.get(id) !== key) continue
      this.#frontendOwner.delete(id)
      this.#drain(id)
    }
    if (service === undefined) this.#frontendsOf.delete(key)
  }

  /** Programs what is wanted and answers the prefixes that may now be announced. */
  #grow(key: string): ReadonlySet<string> {
    const service = this.#wanted.get(key)
    if (service === undefined) return new Set()
    if (this.#isGated && !this.#program(service)) return new Set()
    return this.#announced.set(key, service.routes)
  }

  /**
   * True when every frontend of the Service was written and read back. One that fails does not keep the others from it.
   */
  #program(service: DesiredService): boolean {
    this.#frontendsOf.set(
      service.key,
      service.frontends.map((frontend) => frontend.id),
    )
    const added: string[] = []
    let failure: unknown
    for (const frontend of service.frontends) {
      this.#frontendOwner.set(frontend.id, service.key)
      this.#draining.delete(frontend.id)
      const isNew = !this.#held.has(frontend.id)
      try {
        if (!this.isProgrammed(frontend)) this.#write(frontend)
        if (isNew) added.push(frontend.id)
      } catch (error) {
        failure ??= error
      }
    }
    if (failure === undefined) this.#failures.delete(service.key)
    else {
      this.#retry(service.key, messageOf(failure))
      // No router sends here yet, and the room of these ports may be all that another Service lacks.
      if (!service.routes.some(({ prefix }) => this.#announced.has(prefix))) for (const id of added) this.#remove(id)
    }
    return failure === undefined
  }

  #write(frontend: Frontend): void {
    const { datapath } = this.#ports
    datapath.upsert(frontend)
    const found = datapath.read(frontend.id)
    if (found === undefined || !isHeld(frontend, found)) {
      throw new HeraldError('ERR_READ_BACK', `${frontend.id}: the kernel does not hold the backends that were written`)
    }
    this.#held.set(frontend.id, found)
  }

  isProgrammed(frontend: Frontend): boolean {
    return isHeld(frontend, this.#held.get(frontend.id))
  }

  /** What was served and announced before the failure stays so; the rest waits for the retry. */
  #retry(key: string, message: string): void {
    const attempts = (this.#failures.get(key)?.attempts ?? 0) + 1
    const failure = { message, attempts }
    this.#failures.set(key, failure)
    this.#ports.later(Math.min(this.#times.retryMs * 2 ** (attempts - 1), this.#times.retryMaxMs), () => {
      // Done, or failed anew since: then the newer failure's timer is the one that counts.
      if (this.#failures.get(key) !== failure) return
      this.#dirty.add(key)
      this.#ports.wake()
    })
  }

  #drain(id: string): void {
    const generation = ++this.#generation
    this.#draining.set(id, generation)
    this.#ports.later(this.#times.drainMs, () => {
      // Wanted again, or drained anew, in the meantime.
      if (this.#draining.get(id) !== generation) return
      this.#draining.delete(id)
      this.#remove(id)
    })
  }

  #remove(id: string): void {
    try {
      this.#ports.datapath.remove(id)
      this.#held.delete(id)
    } catch {
      // A removal that fails leaves an address that still answers: try again after another drain.
      this.#drain(id)
    }
  }

  #post(prefixes: ReadonlySet<string>): void {
    if (prefixes.size > 0) this.#ports.announce([...prefixes].map((prefix) => this.#announced.merged(prefix)))
  }
}
