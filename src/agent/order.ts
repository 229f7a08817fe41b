/**
 * The order of things: serve before you announce, stop announcing before you stop serving.
 *
 *     wanted grows    1 program frontends   2 read them back   3 announce
 *     wanted shrinks  1 withdraw            2 drain (routers converge, packets under way are still served)   3 remove
 *
 * What is to be done is a plan (reconcile/plan.ts); this file keeps what is wanted and what was done, and runs the
 * steps of dirty Services in bounded slices. Every step is idempotent, so a crash between any two converges: what an
 * earlier process left in the kernel is read at the start, is never removed before the first full set of wanted
 * Services is known, and then leaves through the same drain as everything else.
 *
 * PodCIDRs, and everything when nothing is programmed (`--datapath none`), are not gated.
 */
import type { Clock } from '../clock/clock.ts'
import type { Datapath, ProgrammedFrontend } from '../datapath/datapath.ts'
import type { DesiredPodCidr, DesiredService, Frontend, Verdict } from '../desired/model.ts'
import { HeraldError, messageOf } from '../errors.ts'
import { isHeld } from '../reconcile/frontends.ts'
import { formatStep, planLeftovers, planServices, type PlanView, type Step } from '../reconcile/plan.ts'
import type { PrefixRoutes } from '../speaker/protocol.ts'
import { Claims } from './claims.ts'
import { Drains } from './drains.ts'
import type { Faults } from './faults.ts'
import { PrefixTable } from './prefix-table.ts'

export interface OrderPorts {
  readonly datapath: Pick<Datapath, 'status' | 'readAll' | 'read' | 'upsert' | 'remove'>
  readonly clock: Clock
  readonly faults: Pick<Faults, 'raise' | 'clear'>
  /** Posts to the speaker; what is posted is in force until it is replaced. */
  announce(prefixes: readonly PrefixRoutes[]): void
  /** Something is left to do: call {@link Order.run} soon. */
  wake(): void
  /** Told of each step that is more than keeping, for the log. */
  trace?(step: string): void
}

export interface OrderTimes {
  /** How long a withdrawn address is still served. */
  readonly drainMs: number
  /** First wait after a failed write; doubles up to `retryMaxMs`. */
  readonly retryMs: number
  readonly retryMaxMs: number
}

const noPrefixes: ReadonlySet<string> = new Set()
/** Of a slice on average: one Service may have a thousand. */
const portsPerService = 4
const podCidrOwner = '\u0000podCIDR'

export class Order {
  readonly #ports: OrderPorts
  readonly #times: OrderTimes
  readonly #isGated: boolean
  #isServing: boolean
  readonly #wanted = new Map<string, DesiredService>()
  /** What the kernel holds, as last read back. */
  readonly #held = new Map<string, ProgrammedFrontend>()
  readonly #claims = new Claims()
  readonly #dirty = new Set<string>()
  readonly #drains: Drains
  readonly #failures = new Map<string, { readonly message: string; readonly attempts: number }>()
  /** By Service: the fault that it is part of. */
  readonly #faultOf = new Map<string, string>()
  readonly #announced = new PrefixTable()
  readonly #view: PlanView
  /** Where {@link audit} goes on. */
  #audited: Iterator<string> = [].values()

  constructor(ports: OrderPorts, times: OrderTimes) {
    this.#ports = ports
    this.#times = times
    this.#isGated = ports.datapath.status.kind !== 'none'
    this.#isServing = ports.datapath.status.interfaces.length > 0
    for (const frontend of ports.datapath.readAll()) this.#held.set(frontend.id, frontend)
    this.#drains = new Drains(ports.clock, times, (id) => this.#remove(id))
    const isServing = (): boolean => this.#isServing
    this.#view = {
      isGated: this.#isGated,
      get isServing() {
        return isServing()
      },
      wanted: (key) => this.#wanted.get(key),
      claimed: (key) => this.#claims.of(key),
      claimants: (id) => this.#claims.on(id),
      owner: (id) => this.#claims.owner(id),
      held: (id) => this.#held.get(id),
      announced: (key) => this.#announced.routesOf(key),
    }
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

  /** Prefixes that are announced, PodCIDRs among them; `version` is another number when one came or went. */
  get announced(): Pick<PrefixTable, 'version' | 'size' | 'prefixes'> {
    return this.#announced
  }

  /** The Service that has a frontend in the kernel. */
  ownerOf(frontend: string): string | undefined {
    return this.#claims.owner(frontend)
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
      if (service === undefined) {
        this.#wanted.delete(key)
        this.#setFault(key, undefined)
      } else this.#wanted.set(key, service)
      this.#claims.want(key, service?.frontends.map(({ id }) => id) ?? [])
      this.#dirty.add(key)
      this.#failures.delete(key)
    }
    if (this.#dirty.size > 0) this.#ports.wake()
  }

  /** Announces the node's PodCIDRs: the CNI serves them, so nothing is gated. */
  wantPodCidrs(podCidrs: readonly DesiredPodCidr[]): void {
    const routes = podCidrs.flatMap((podCidr) => podCidr.routes)
    this.#post(this.#announced.set(podCidrOwner, routes))
  }

  /** Whether our programs are on an uplink: without, no Service is announced, and what is held stays in the kernel. */
  setServing(isServing: boolean): void {
    if (!this.#isGated || isServing === this.#isServing) return
    this.#isServing = isServing
    for (const [key, { routes }] of this.#wanted) if (routes.length > 0) this.#dirty.add(key)
    if (this.#dirty.size > 0) this.#ports.wake()
  }

  /**
   * Reads some of what is held, each time others: what somebody else changed in the maps is a fault until it is written
   * again, at once.
   */
  audit(limit: number): void {
    for (let left = Math.min(limit, this.#held.size); left > 0; left--) {
      let next = this.#audited.next()
      if (next.done === true) {
        this.#audited = this.#held.keys()
        next = this.#audited.next()
      }
      if (next.done !== true) this.#auditOne(next.value)
    }
    if (this.#dirty.size > 0) this.#ports.wake()
  }

  #auditOne(id: string): void {
    const { datapath, faults } = this.#ports
    const [held, owner] = [this.#held.get(id), this.#claims.owner(id)]
    if (held === undefined || owner === undefined || this.#dirty.has(owner)) return
    const found = datapath.read(id)
    if (isHeld(held, found)) return faults.clear('edited', id)
    faults.raise('edited', id, 'somebody else changed the maps of the kernel: it is written again')
    if (found === undefined) this.#held.delete(id)
    else this.#held.set(id, found)
    this.#dirty.add(owner)
  }

  /** After the first full set of wanted Services was run: what the kernel holds beyond it may drain. */
  releaseLeftovers(): void {
    for (const step of planLeftovers(this.#held.keys(), this.#view)) this.#run(step)
  }

  /** Works on at most `limit` dirty Services, fewer of many ports, and those that succeed them; true when some are left. */
  run(limit: number): boolean {
    const asked: string[] = []
    let ports = 0
    for (const key of this.#dirty) {
      if (asked.length >= limit || ports >= limit * portsPerService) break
      asked.push(key)
      ports += this.#wanted.get(key)?.frontends.length ?? 0
    }
    if (asked.length === 0) return false
    const { services, steps } = planServices(asked, this.#view)
    for (const key of services) this.#dirty.delete(key)
    const touched = new Set<string>()
    for (const part of partsOf(steps)) this.#runPart(part, touched)
    for (const key of services) this.#claims.settle(key)
    this.#post(touched)
    return this.#dirty.size > 0
  }

  /** The part of a Service's chain of reasons that this file knows. */
  verdict(key: string): Verdict {
    const service = this.#wanted.get(key)
    const failure = this.#failures.get(key)
    const no = (code: Verdict['code'], message: string, remedy: string): Verdict => ({
      step: 'programmed',
      ok: false,
      code,
      message,
      remedy,
    })
    const yes = (code: Verdict['code'], message: string): Verdict => ({ step: 'programmed', ok: true, code, message })
    if (!this.#isGated)
      return yes('NotGated', 'Nothing is programmed (--datapath none): the cluster serves the address itself')
    if (failure !== undefined)
      return no('ProgrammingFailed', failure.message, 'It is retried; `herald status` shows the fill of the maps')
    const frontends = service?.frontends ?? []
    const taken = frontends.find(({ id }) => (this.#claims.owner(id) ?? key) !== key)
    if (taken !== undefined)
      return no(
        'FrontendTaken',
        `${taken.id} is served for Service ${this.#claims.owner(taken.id)}, which holds it`,
        'Give one of the two Services another port or address',
      )
    const missing = frontends.filter((frontend) => !this.isProgrammed(frontend))
    if (missing.length > 0) return no('Programming', `${missing.length} port(s) are being written`, 'Wait a moment')
    if (!this.#isServing)
      return no(
        'NoUplink',
        'Our programs are on no interface: packets for the address would not be served',
        'See the warnings of `herald status`; name the interfaces with --interfaces',
      )
    return yes('Programmed', `${frontends.length} port(s) read back from the kernel`)
  }

  isProgrammed(frontend: Frontend): boolean {
    return isHeld(frontend, this.#held.get(frontend.id))
  }

  /** Steps of a Service that stand or fall together, or a step that stands alone. */
  #runPart({ service, steps }: Part, touched: Set<string>): void {
    const added: string[] = []
    let failure: unknown
    for (const step of steps) {
      const isNew = step.do === 'program' && !this.#held.has(step.frontend.id)
      try {
        if (step.do !== 'announce' || failure === undefined) for (const prefix of this.#run(step)) touched.add(prefix)
        if (isNew) added.push(step.frontend.id)
      } catch (error) {
        // One frontend that fails does not keep the others from it.
        if (step.do !== 'program') throw error
        failure ??= error
      }
    }
    if (service !== undefined) this.#programmed(service, failure, added)
  }

  /**
   * One step of a plan; answers prefixes to post at its end. Throws when a frontend cannot be written and read back.
   */
  #run(step: Step): ReadonlySet<string> {
    if (step.do !== 'keep') this.#ports.trace?.(formatStep(step))
    switch (step.do) {
      case 'withdraw':
        this.#post(this.#announced.drop(step.service, new Set(step.prefixes)))
        return noPrefixes
      case 'release':
        return this.#announced.drop(step.service, new Set(step.prefixes))
      case 'announce':
        return this.#announced.set(step.service, step.routes)
      case 'hand over':
        this.#claims.own(step.frontend, step.to)
        return noPrefixes
      case 'drain':
        this.#claims.own(step.frontend, undefined)
        // What nobody owns is not looked at any more.
        this.#ports.faults.clear('edited', step.frontend)
        if (this.#held.has(step.frontend)) this.#drains.add(step.frontend)
        return noPrefixes
      case 'keep':
        if (step.why === 'Held') this.#own(step.what, step.service)
        return noPrefixes
      case 'program':
        this.#own(step.frontend.id, step.service)
        this.#write(step.frontend)
        return noPrefixes
    }
  }

  #own(frontend: string, service: string): void {
    this.#claims.own(frontend, service)
    this.#drains.cancel(frontend)
    this.#ports.faults.clear('remove', frontend)
  }

  #write(frontend: Frontend): void {
    const found = this.#ports.datapath.upsert(frontend)
    if (!isHeld(frontend, found)) {
      throw new HeraldError('ERR_READ_BACK', `${frontend.id}: the kernel does not hold the backends that were written`)
    }
    this.#held.set(frontend.id, found)
  }

  /** What was served and announced before a failure stays so; the rest waits for the retry. */
  #programmed(key: string, failure: unknown, added: readonly string[]): void {
    const code = failure instanceof HeraldError ? failure.code : 'ERR_SYSCALL'
    this.#setFault(key, failure === undefined ? undefined : { key: `program ${code}`, message: messageOf(failure) })
    if (failure === undefined) {
      this.#failures.delete(key)
      return
    }
    this.#retry(key, messageOf(failure))
    // No router sends here yet, and the room of these ports may be all that another Service lacks.
    if (this.#announced.routesOf(key).length === 0) for (const id of added) if (!this.#remove(id)) this.#drains.add(id)
  }

  /** A Service has at most one fault: that of its last failure. */
  #setFault(service: string, fault: { readonly key: string; readonly message: string } | undefined): void {
    const { faults } = this.#ports
    const before = this.#faultOf.get(service)
    if (before !== undefined && before !== fault?.key) {
      this.#faultOf.delete(service)
      faults.clear(before, service)
    }
    if (fault === undefined) return
    this.#faultOf.set(service, fault.key)
    faults.raise(fault.key, service, fault.message)
  }

  #retry(key: string, message: string): void {
    const attempts = (this.#failures.get(key)?.attempts ?? 0) + 1
    const failure = { message, attempts }
    this.#failures.set(key, failure)
    this.#ports.clock.after(Math.min(this.#times.retryMs * 2 ** (attempts - 1), this.#times.retryMaxMs), () => {
      // Done, or failed anew since: then the newer failure's timer is the one that counts.
      if (this.#failures.get(key) !== failure) return
      this.#dirty.add(key)
      this.#ports.wake()
    })
  }

  /** False when it failed: an address that still answers, tried again by whoever asked. */
  #remove(id: string): boolean {
    try {
      this.#ports.datapath.remove(id)
    } catch (error) {
      this.#ports.faults.raise('remove', id, `cannot be removed and still answers: ${messageOf(error)}`)
      return false
    }
    this.#held.delete(id)
    this.#ports.faults.clear('remove', id)
    this.#ports.trace?.(`remove ${id}`)
    return true
  }

  #post(prefixes: ReadonlySet<string>): void {
    if (prefixes.size > 0) this.#ports.announce([...prefixes].map((prefix) => this.#announced.merged(prefix)))
  }
}

interface Part {
  readonly service: string | undefined
  readonly steps: Step[]
}

/** Steps that stand or fall together: the frontends of a Service with its announcement. */
function partsOf(steps: readonly Step[]): readonly Part[] {
  const parts: Part[] = []
  for (const step of steps) {
    const service = step.do === 'program' || step.do === 'keep' || step.do === 'announce' ? step.service : undefined
    const last = parts.at(-1)
    if (service !== undefined && last?.service === service) last.steps.push(step)
    else parts.push({ service, steps: [step] })
  }
  return parts
}
