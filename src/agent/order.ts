/**
 * The order of things: serve before you announce, stop announcing before you stop serving.
 *
 *     wanted grows    1 program frontends   2 read them back   3 announce
 *     wanted shrinks  1 withdraw            2 drain (routers converge, packets under way are still served)   3 remove
 *
 * What is to be done is a plan (reconcile/plan.ts); this file keeps what is wanted and what was done, and runs the
 * steps of dirty Services. A plan is laid down when the turn of the loop is over, between two ports if need be, and
 * gone on with in the next; what is wanted otherwise meanwhile cuts it, and the rest is planned anew. Every step is
 * idempotent, so that a cut, or a crash, between any two converges: what an earlier process left in the kernel is read
 * at the start, is never removed before the first full set of wanted Services is known, and then leaves through the
 * same drain as everything else.
 *
 * PodCIDRs, and everything when nothing is programmed (`--datapath none`), are not gated.
 */
import { allOf, goOn, type Work } from '../allocation/work.ts'
import type { Clock } from '../clock/clock.ts'
import type { Datapath, ProgrammedFrontend, Upserted } from '../datapath/datapath.ts'
import type { DesiredPodCidr, DesiredService, Frontend, Verdict } from '../desired/model.ts'
import { HeraldError, messageOf } from '../errors.ts'
import { isHeld } from '../reconcile/frontends.ts'
import { formatStep, planLeftovers, planServices, type PlanView, type Step } from '../reconcile/plan.ts'
import type { PrefixRoutes } from '../speaker/protocol.ts'
import { Claims } from './claims.ts'
import { Drains } from './drains.ts'
import type { Faults } from './faults.ts'
import { PrefixTable } from './prefix-table.ts'
import { ProgrammingFailures, type RetryTimes } from './programming-failures.ts'

export interface OrderPorts {
  readonly datapath: Pick<Datapath, 'status' | 'readAll' | 'read' | 'upsertAll' | 'remove'>
  readonly clock: Clock
  readonly faults: Pick<Faults, 'raise' | 'clear'>
  /** Posts to the speaker; what is posted is in force until it is replaced. */
  announce(prefixes: readonly PrefixRoutes[]): void
  /** Something is left to do: call {@link Order.run} soon. */
  wake(): void
  /** Told of each step that is more than keeping, for the log. */
  trace?(step: string): void
}

export interface OrderTimes extends RetryTimes {
  /** How long a withdrawn address is still served. */
  readonly drainMs: number
}

const retryRemedy = 'It is retried; `herald status` shows the fill of the maps'
const roomRemedy =
  'Give it fewer ports, pods or source ranges, or the node more memory; it is retried, and what is served stays. ' +
  '`herald status` shows the fill of the maps'

/** By Service: the first error, and all that was refused. */
type Failures = Map<string, { readonly error: unknown; readonly steps: Program[] }>

type Program = Extract<Step, { readonly do: 'program' }>

/** Of a slice on average: one Service may have a thousand. */
const portsPerService = 4
/** A turn takes no longer than this and one write. */
const turnMs = 6
/** Ports, and backends of them, that are written in a row: some milliseconds. */
const [portsInARow, backendsInARow] = [32, 256]
const podCidrOwner = '\u0000podCIDR'

export class Order {
  readonly #ports: OrderPorts
  readonly #isGated: boolean
  #isServing: boolean
  readonly #wanted = new Map<string, DesiredService>()
  /** What the kernel holds, as last read back. */
  readonly #held = new Map<string, ProgrammedFrontend>()
  readonly #claims = new Claims()
  readonly #dirty = new Set<string>()
  /** The plan that is being run, and its Services that are not done with. */
  #underWay: Work<void> | undefined
  readonly #unfinished = new Set<string>()
  /** Prefixes to post when the turn is over. */
  readonly #touched = new Set<string>()
  /** Those that a Service of the plan gave up for another one of it: they stay until that one announces them. */
  readonly #released = new Set<string>()
  /** By Service: frontends that it was not announced with yet. */
  readonly #added = new Map<string, Set<string>>()
  /** Some of them were removed since the last row was written. */
  #hasTakenBack = false
  readonly #drains: Drains
  readonly #failures: ProgrammingFailures
  readonly #announced = new PrefixTable()
  readonly #view: PlanView
  /** Where {@link audit} goes on. */
  #audited: Iterator<string> = [].values()

  constructor(ports: OrderPorts, times: OrderTimes) {
    this.#ports = ports
    this.#isGated = ports.datapath.status.kind !== 'none'
    this.#isServing = ports.datapath.status.interfaces.length > 0
    for (const frontend of ports.datapath.readAll()) this.#held.set(frontend.id, frontend)
    this.#drains = new Drains(ports.clock, times, (id) => {
      this.#cut()
      return this.#remove(id)
    })
    this.#failures = new ProgrammingFailures(ports, times, (key) => {
      this.#dirty.add(key)
      ports.wake()
    })
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
    return this.#dirty.size + this.#unfinished.size
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

  /** By Service why it could not be programmed. */
  get failures(): Iterable<readonly [string, { readonly message: string }]> {
    return this.#failures.all
  }

  service(key: string): DesiredService | undefined {
    return this.#wanted.get(key)
  }

  get services(): ReadonlyMap<string, DesiredService> {
    return this.#wanted
  }

  /** Takes the wanted state of some Services; `undefined` is a Service that is gone. */
  want(services: ReadonlyMap<string, DesiredService | undefined>): void {
    const cut = services.size > 0 ? this.#cut() : []
    for (const [key, service] of services) {
      if (service === undefined) {
        this.#wanted.delete(key)
        this.#added.delete(key)
        this.#failures.clear(key)
      } else this.#wanted.set(key, service)
      this.#claims.want(key, service?.frontends.map(({ id }) => id) ?? [])
      this.#dirty.add(key)
      this.#failures.forget(key)
    }
    // Behind those that have waited and those that come now.
    for (const key of cut) if (!services.has(key) && this.#dirty.delete(key)) this.#dirty.add(key)
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
    this.#cut()
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
    if (held === undefined || owner === undefined || this.#isWorkedOn(owner)) return
    const found = datapath.read(id)
    if (isHeld(held, found)) return faults.clear('edited', id)
    faults.raise('edited', id, 'somebody else changed the maps of the kernel: it is written again')
    if (found === undefined) this.#held.delete(id)
    else this.#held.set(id, found)
    this.#dirty.add(owner)
  }

  /** After the first full set of wanted Services was run: what the kernel holds beyond it may drain. */
  releaseLeftovers(): void {
    for (const step of planLeftovers(this.#held.keys(), this.#view)) if (step.do !== 'program') this.#run(step)
  }

  #isWorkedOn(service: string): boolean {
    return this.#dirty.has(service) || this.#unfinished.has(service)
  }

  /**
   * Goes on with the plan that was laid down, or makes one for at most `limit` dirty Services, fewer of many ports, and
   * those that succeed them; true when something is left.
   */
  run(limit: number): boolean {
    const { clock } = this.#ports
    const endMs = clock.monotonic() + turnMs
    this.#underWay ??= this.#planned(limit)
    if (this.#underWay === undefined) return false
    if (goOn(this.#underWay, () => clock.monotonic() >= endMs) !== undefined) this.#underWay = undefined
    this.#postTouched()
    return this.#underWay !== undefined || this.pending > 0
  }

  #planned(limit: number): Work<void> | undefined {
    const asked: string[] = []
    let ports = 0
    for (const key of this.#dirty) {
      if (asked.length >= limit || ports >= limit * portsPerService) break
      asked.push(key)
      ports += this.#wanted.get(key)?.frontends.length ?? 0
    }
    if (asked.length === 0) return undefined
    const { services, steps } = planServices(asked, this.#view)
    for (const key of services) {
      this.#dirty.delete(key)
      this.#unfinished.add(key)
    }
    return this.#carryOut(steps)
  }

  /**
   * What is not done of the plan under way is planned anew; a hand-over of prefixes is finished first. Answers the
   * Services that are left.
   */
  #cut(): readonly string[] {
    const plan = this.#underWay
    if (plan === undefined) return []
    this.#underWay = undefined
    if (this.#released.size > 0) allOf(plan)
    else plan.return()
    const left = [...this.#unfinished]
    for (const key of left) this.#dirty.add(key)
    this.#unfinished.clear()
    this.#postTouched()
    return left
  }

  /** The part of a Service's chain of reasons that this file knows. */
  verdict(key: string): Verdict {
    const service = this.#wanted.get(key)
    const failure = this.#failures.of(key)
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
      return no('ProgrammingFailed', failure.message, failure.code === 'ERR_MAP_FULL' ? roomRemedy : retryRemedy)
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

  /** Withdrawals, and what is given up, in one go; then Service by Service what grows. */
  *#carryOut(steps: readonly Step[]): Work<void> {
    const parts = partsOf(steps)
    for (const { service, steps: some } of parts)
      for (const step of service === undefined ? some : []) if (step.do !== 'program') this.#run(step)
    yield* this.#grow(parts)
    for (const key of this.#unfinished) this.#claims.settle(key)
    this.#unfinished.clear()
    for (const prefix of this.#released) this.#touched.add(prefix)
    this.#released.clear()
  }

  /** Writes in rows, of several Services where they are small; each is announced when its last port was written. */
  *#grow(parts: readonly Part[]): Work<void> {
    const failures: Failures = new Map()
    let row: Program[] = []
    let written: Part[] = []
    try {
      for (const part of parts) {
        if (part.service === undefined) continue
        for (const step of part.steps) {
          if (step.do === 'keep') this.#run(step)
          if (step.do !== 'program') continue
          row.push(step)
          if (!isEnough(row)) continue
          this.#write(row, failures)
          row = []
          yield
        }
        written.push(part)
        if (row.length > 0) continue
        for (const each of written) yield* this.#finish(each, failures)
        written = []
      }
      this.#write(row, failures)
      for (const each of written) yield* this.#finish(each, failures)
    } finally {
      // Cut: who failed waits as if the plan had come to its end.
      for (const [service, { error }] of failures) {
        this.#unfinished.delete(service)
        this.#failures.add(service, error)
      }
    }
  }

  /** The last port of a Service was written, or was not. */
  *#finish({ service = '', steps }: Part, failures: Failures): Work<void> {
    const refused = failures.get(service)?.steps
    if (refused !== undefined && this.#hasTakenBack && failures.delete(service)) this.#write(refused, failures)
    const failure = failures.get(service)
    failures.delete(service)
    this.#unfinished.delete(service)
    this.#claims.settle(service)
    // What was served and announced before a failure stays so; the rest waits for the retry.
    if (failure !== undefined) {
      this.#failures.add(service, failure.error)
      return yield* this.#takeBack(service)
    }
    for (const step of steps) if (step.do === 'announce') this.#run(step)
    this.#added.delete(service)
    this.#failures.clear(service)
    yield
  }

  /** One step of a plan; those that program are written in rows. */
  #run(step: Exclude<Step, Program>): void {
    if (step.do !== 'keep') this.#ports.trace?.(formatStep(step))
    switch (step.do) {
      case 'withdraw':
        return this.#post(this.#announced.drop(step.service, new Set(step.prefixes)))
      case 'release':
        for (const prefix of this.#announced.drop(step.service, new Set(step.prefixes))) this.#released.add(prefix)
        return
      case 'announce':
        for (const prefix of this.#announced.set(step.service, step.routes)) {
          this.#released.delete(prefix)
          this.#touched.add(prefix)
        }
        return
      case 'hand over':
        return this.#claims.own(step.frontend, step.to)
      case 'drain':
        this.#claims.own(step.frontend, undefined)
        // What nobody owns is not looked at any more.
        this.#ports.faults.clear('edited', step.frontend)
        if (this.#held.has(step.frontend)) this.#drains.add(step.frontend)
        return
      case 'keep':
        if (step.why === 'Held') this.#own(step.what, step.service)
    }
  }

  #own(frontend: string, service: string): void {
    this.#claims.own(frontend, service)
    this.#drains.cancel(frontend)
    this.#ports.faults.clear('remove', frontend)
  }

  /** One frontend that fails does not keep the others from it. */
  #write(row: readonly Program[], failures: Failures): void {
    this.#hasTakenBack = false
    for (const step of row) {
      this.#ports.trace?.(formatStep(step))
      this.#own(step.frontend.id, step.service)
    }
    const results = row.length === 0 ? [] : this.#ports.datapath.upsertAll(row.map(({ frontend }) => frontend))
    for (const [n, step] of row.entries()) {
      try {
        this.#written(step, results[n])
      } catch (error) {
        const known = failures.get(step.service)
        if (known === undefined) failures.set(step.service, { error, steps: [step] })
        else known.steps.push(step)
      }
    }
  }

  #written({ service, frontend }: Program, result: Upserted | undefined): void {
    if (result !== undefined && 'error' in result) throw result.error
    if (result === undefined || !isHeld(frontend, result.held))
      throw new HeraldError('ERR_READ_BACK', `${frontend.id}: the kernel does not hold the backends that were written`)
    if (!this.#held.has(frontend.id)) {
      const added = this.#added.get(service) ?? new Set()
      this.#added.set(service, added.add(frontend.id))
    }
    this.#held.set(frontend.id, result.held)
  }

  /** No router sends here yet, and the room of these ports may be all that another Service lacks. */
  *#takeBack(key: string): Work<void> {
    const added = this.#added.get(key) ?? []
    if (this.#announced.routesOf(key).length > 0) return
    for (const id of added) {
      if (this.#remove(id)) this.#hasTakenBack = true
      else this.#drains.add(id)
      yield
    }
    this.#added.delete(key)
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

  #postTouched(): void {
    this.#post(this.#touched)
    this.#touched.clear()
  }

  #post(prefixes: ReadonlySet<string>): void {
    if (prefixes.size > 0) this.#ports.announce([...prefixes].map((prefix) => this.#announced.merged(prefix)))
  }
}

function isEnough(row: readonly Program[]): boolean {
  const backends = row.reduce((sum, { frontend }) => sum + frontend.backends.length, 0)
  return row.length >= portsInARow || backends >= backendsInARow
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
