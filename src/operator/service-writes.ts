/**
 * The statuses of Services: what was read of each, what the allocation says, and what became of the last write. A
 * status that was written counts as read, until the watch has something newer.
 */
import type { Clock } from '../clock/clock.ts'
import { sameValue } from '../desired/same-value.ts'
import { type ObjectKey, type ObjectVersion, type RawObject, recordOf } from '../k8s/source.ts'
import { toldProblems } from '../k8s/dialects/accepted.ts'
import type { StatusCondition, StatusOutcome, StatusSink } from '../k8s/status.ts'
import type { Lingering } from '../k8s/translate/addresses.ts'
import type { Allocation } from './allocation.ts'
import type { EventLog } from './event-log.ts'
import {
  addressesOf,
  conditionsIn,
  factsOf,
  type OwnedByOthers,
  type Say,
  sayOf,
  type ServiceFacts,
  statusToApply,
} from './service-status.ts'

interface Known {
  facts: ServiceFacts
  /** As it is written, also where nothing else of the Service is understood. */
  readonly loadBalancerClass: string | undefined
  owned: OwnedByOthers | undefined
  /** What was told by an event last: the same is not told once more. */
  told: string
}

export type ServiceState = 'allocated' | 'waiting' | 'owned'

export interface ServiceWritesParts {
  readonly clock: Clock
  readonly allocation: Allocation
  readonly sink: StatusSink
  readonly events: EventLog
}

export class ServiceWrites {
  readonly #parts: ServiceWritesParts
  readonly #known = new Map<string, Known>()
  /** With external IPs and without a status of ours: nodes may have something to say of them. */
  readonly #others = new Map<string, ServiceFacts['target']>()
  readonly #states = new Map<string, ServiceState>()
  readonly #counts: Record<ServiceState, number> = { allocated: 0, waiting: 0, owned: 0 }

  constructor(parts: ServiceWritesParts) {
    this.#parts = parts
  }

  /** Services of ours by state. */
  get counts(): Readonly<Record<ServiceState, number>> {
    return this.#counts
  }

  targetOf(key: string): ServiceFacts['target'] | undefined {
    return this.#known.get(key)?.facts.target ?? this.#others.get(key)
  }

  /** Its own condition says why it has no address. */
  isDenied(key: string): boolean {
    return this.#known.get(key)?.facts.condition?.status === 'False'
  }

  /** It has other addresses than its status says: nodes wait for that to announce them. */
  isAwaited(key: string): boolean {
    const { addresses: said = [] } = this.#known.get(key)?.facts ?? {}
    const addresses = this.#parts.allocation.answerOf(key)?.addresses ?? []
    return addresses.length !== said.length || addresses.some((each) => !said.includes(each))
  }

  /** `own`: it is what we wrote, and says that; `older`: we wrote something newer. */
  read(id: string, key: ObjectKey, object: RawObject, version: ObjectVersion): 'news' | 'own' | 'older' {
    const { type, loadBalancerClass: named, externalIPs } = recordOf(object['spec'])
    const loadBalancerClass = typeof named === 'string' ? named : undefined
    const facts = factsOf(key, object, version)
    const before = this.#known.get(id)
    this.#others.delete(id)
    if (type !== 'LoadBalancer' && facts.condition === undefined) {
      this.#known.delete(id)
      if (Array.isArray(externalIPs) && externalIPs.length > 0) this.#others.set(id, facts.target)
      return 'news'
    }
    const isSameObject = before !== undefined && before.facts.target.uid === facts.target.uid
    if (isSameObject && isOlder(facts.target.resourceVersion, before.facts.target.resourceVersion)) return 'older'
    const [owned, told] = isSameObject ? [stillOwned(before, facts), before.told] : [undefined, '']
    this.#known.set(id, { facts, loadBalancerClass, owned, told })
    return isSameObject && owned === undefined && isOwn(before.facts, facts) ? 'own' : 'news'
  }

  /** What the status of a Service says, as far as we know. */
  lingeringOf(key: string): Lingering {
    const { addresses = [], portsHeld, target } = this.#known.get(key)?.facts ?? {}
    const writtenAt = Number.parseInt(target?.resourceVersion ?? '', 10)
    return { addresses, portsHeld: portsHeld?.message, writtenAt: Number.isNaN(writtenAt) ? undefined : writtenAt }
  }

  forget(id: string): void {
    this.#known.delete(id)
    this.#others.delete(id)
    this.#count(id)
  }

  write(id: string): Promise<StatusOutcome> | undefined {
    const known = this.#known.get(id)
    if (known === undefined) return undefined
    const { clock, sink } = this.#parts
    const say = this.#sayOf(id, known.loadBalancerClass)
    const status = statusToApply(known.facts, say, known.owned, secondsOf(clock))
    if (status === undefined) return undefined
    const { target } = known.facts
    this.#tell(known, conditionsIn(status)[0])
    return sink.apply({ target, status }).then((outcome) => {
      this.#wrote(id, known, status, outcome)
      return outcome
    })
  }

  #tell(known: Known, condition: StatusCondition | undefined): void {
    if (condition === undefined) return
    const { status, reason, message } = condition
    const told = `${reason} ${message}`
    if (told === known.told) return
    known.told = told
    if (status !== 'True' || reason === 'RequestRefused' || reason === 'SomePortsTaken')
      this.#parts.events.warn(known.facts.target, reason, 'Allocate', message)
  }

  #count(id: string): void {
    const now = this.#stateOf(id)
    const before = this.#states.get(id)
    if (now === before) return
    if (before !== undefined) this.#counts[before]--
    if (now === undefined) this.#states.delete(id)
    else {
      this.#counts[now]++
      this.#states.set(id, now)
    }
  }

  /** Its answer is another one: it may be counted elsewhere. */
  settled(id: string): void {
    this.#count(id)
  }

  #stateOf(id: string): ServiceState | undefined {
    const known = this.#known.get(id)
    const answer = this.#parts.allocation.answerOf(id)
    if (known === undefined || answer === undefined) return undefined
    if (known.owned?.ingressText !== undefined) return 'owned'
    return answer.verdict.ok ? 'allocated' : 'waiting'
  }

  /** A Service that was never understood is told why; one that is no LoadBalancer of ours is told nothing. */
  #sayOf(id: string, loadBalancerClass: string | undefined): Say | undefined {
    const { allocation } = this.#parts
    const answer = allocation.answerOf(id)
    if (answer !== undefined) return sayOf(answer)
    if (allocation.serviceOf(id) !== undefined || !allocation.servesClass(loadBalancerClass)) return undefined
    const told = toldProblems(allocation.errorsOf(id))
    const [first] = told
    if (first === undefined) return undefined
    const message = told.map(({ text }) => text).join(' ')
    return { addresses: [], ok: false, code: first.code, message, isUnread: true }
  }

  #wrote(id: string, known: Known, status: RawObject, outcome: StatusOutcome): void {
    if (outcome.kind === 'owned') this.#owned(id, known, status, outcome.fields, outcome.message)
    // Something newer came meanwhile, and what was written is in it.
    if (outcome.kind !== 'written' || this.#known.get(id) !== known) return
    const { facts } = known
    const { ingress } = recordOf(status['loadBalancer'])
    const [condition, portsHeld] = conditionsIn(status)
    const isConditionKept = known.owned?.isConditionOwned === true
    const isIngressKept = !Array.isArray(ingress) && known.owned?.ingressText !== undefined
    const entries = isIngressKept ? facts.ingress : Array.isArray(ingress) ? ingress.map(recordOf) : []
    known.facts = {
      ...facts,
      target: { ...facts.target, resourceVersion: outcome.resourceVersion },
      ingress: entries,
      ingressText: isIngressKept ? facts.ingressText : JSON.stringify(entries),
      addresses: addressesOf(entries),
      condition: condition ?? (isConditionKept ? facts.condition : undefined),
      portsHeld: portsHeld ?? (isConditionKept ? facts.portsHeld : undefined),
      isSaidByUs: true,
    }
    // Applied with the value that is there, the addresses are ours as well.
    if (Array.isArray(ingress) && known.owned !== undefined)
      known.owned = isConditionKept ? { ...known.owned, ingressText: undefined } : undefined
    this.#count(id)
  }

  #owned(id: string, known: Known, status: RawObject, fields: readonly string[], message: string): void {
    const now = this.#known.get(id)
    if (now === undefined || now.facts.ingressText !== known.facts.ingressText) return
    const isConditionOwned = fields.some((field) => field.includes('conditions'))
    const isIngressOwned = fields.some((field) => field.includes('loadBalancer'))
    const { events } = this.#parts
    now.owned = {
      ingressText: isIngressOwned ? now.facts.ingressText : known.owned?.ingressText,
      isConditionOwned: isConditionOwned || known.owned?.isConditionOwned === true,
      message,
    }
    // Where the condition is ours it says so as well; where it is not, this is all that can be said.
    if (isConditionOwned && status['conditions'] !== undefined)
      events.warn(now.facts.target, 'StatusOwned', 'WriteStatus', `the condition cannot be written: ${message}`)
    this.#count(id)
  }

  /** What others own is tried again: they may have let go of it. */
  retryOwned(id: string): void {
    const known = this.#known.get(id)
    if (known !== undefined) known.owned = undefined
  }
}

/** What others own stays theirs for as long as the values are the same. */
function stillOwned({ owned, facts: before }: Known, facts: ServiceFacts): OwnedByOthers | undefined {
  if (owned === undefined) return undefined
  const isIngressSame = facts.ingressText === before.ingressText
  const saidIn = ({ condition, portsHeld }: ServiceFacts): string => JSON.stringify([condition, portsHeld])
  const isConditionSame = saidIn(facts) === saidIn(before)
  const ingressText = isIngressSame ? owned.ingressText : undefined
  const isConditionOwned = isConditionSame && owned.isConditionOwned
  return ingressText === undefined && !isConditionOwned ? undefined : { ...owned, ingressText, isConditionOwned }
}

/** The version that our write made, as far as we may say what is in it. */
function isOwn({ target, ingressText, condition, portsHeld }: ServiceFacts, now: ServiceFacts): boolean {
  return (
    target.resourceVersion !== '' &&
    target.resourceVersion === now.target.resourceVersion &&
    ingressText === now.ingressText &&
    sameValue([condition, portsHeld], [now.condition, now.portsHeld])
  )
}

/** Versions of one resource are numbers that grow; what is no number counts as newer. */
function isOlder(version: string, than: string): boolean {
  const isNumber = /^\d{1,20}$/
  return isNumber.test(version) && isNumber.test(than) && BigInt(version) < BigInt(than)
}

/** metav1.Time. */
function secondsOf(clock: Clock): string {
  return new Date(clock.now()).toISOString().replace(/\.\d+Z$/, 'Z')
}
