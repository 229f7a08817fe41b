/**
 * What the status of a Service says now, and what it should say. One write carries both the addresses and why. Pure.
 */
import type { AddressAnswer } from '../allocation/address-source.ts'
import type { VerdictCode } from '../desired/codes.ts'
import { someOf } from '../desired/some-of.ts'
import { formatTenure } from '../allocation/tenure.ts'
import { formatAddress, parseAddress, unmapped } from '../ip/address.ts'
import { keptList } from '../desired/kept.ts'
import { allocatedCondition, isSaidByOperator, portsHeldCondition } from '../k8s/kinds/status-writers.ts'
import { type ObjectKey, type ObjectVersion, type RawObject, recordOf } from '../k8s/source.ts'
import type { ObjectVersionRef, StatusCondition } from '../k8s/status.ts'
import { clipped } from './clipped.ts'

/** The conditions that are ours: this one, and what a Service has of the ports of shared addresses. */
const conditionType = allocatedCondition
/** Octets of what a condition says, which may be ten errors; the API server takes 32 KiB. */
const maxMessage = 4096
const maxIngress = 64

/** Of a Service as it was read last; the rest is the allocator's. */
export interface ServiceFacts {
  readonly target: ObjectVersionRef
  readonly isDeleting: boolean
  /** status.loadBalancer.ingress as it is written, and as text that is equal where it is. */
  readonly ingress: readonly RawObject[]
  readonly ingressText: string
  /** Of it, canonical. */
  readonly addresses: readonly string[]
  /** Ours, whoever wrote it. */
  readonly condition: StatusCondition | undefined
  readonly portsHeld: StatusCondition | undefined
  /** The server knows that these are ours: somebody may have had it forget. */
  readonly isSaidByUs: boolean
}

export function factsOf(key: ObjectKey, object: RawObject, version: ObjectVersion): ServiceFacts {
  const status = recordOf(object['status'])
  const { ingress } = recordOf(status['loadBalancer'])
  const entries = Array.isArray(ingress) ? ingress.map(recordOf) : []
  const conditions = conditionsIn(status)
  return {
    target: {
      apiVersion: 'v1',
      kind: 'Service',
      resource: 'services',
      namespace: key.namespace,
      name: key.name,
      uid: version.uid ?? '',
      resourceVersion: version.resourceVersion ?? '',
    },
    isDeleting: typeof recordOf(object['metadata'])['deletionTimestamp'] === 'string',
    ingress: entries,
    ingressText: JSON.stringify(ingress ?? []),
    addresses: addressesOf(entries),
    condition: conditions.find(({ type }) => type === conditionType),
    portsHeld: conditions.find(({ type }) => type === portsHeldCondition),
    isSaidByUs: isSaidByOperator(
      object,
      conditions.map(({ type }) => type),
    ),
  }
}

/** Those of ours in a status that was read, or that was written. */
export function conditionsIn({ conditions }: RawObject): readonly StatusCondition[] {
  const list = (Array.isArray(conditions) ? conditions : []).map(recordOf)
  return [conditionType, portsHeldCondition].flatMap((type) => {
    const own = list.find((each) => each['type'] === type)
    return own === undefined ? [] : [conditionOf(type, own)]
  })
}

/** Fields of others that we may not write, as the server said of these values. */
export interface OwnedByOthers {
  /** The addresses that are there, as {@link ServiceFacts.ingressText}; undefined: they are not another's. */
  readonly ingressText: string | undefined
  readonly isConditionOwned: boolean
  readonly message: string
}

/** What an allocator says of a Service, or why there is nothing to allocate for. */
export interface Say {
  readonly addresses: readonly string[]
  readonly ok: boolean
  readonly code: string
  readonly message: string
  /** The Service is not understood: what was given to it stays. An apply without the addresses would take them away. */
  readonly isUnread?: boolean
  /** What it has of the ports of shared addresses, as it is recorded. */
  readonly portsHeld?: string | undefined
}

export function sayOf({ addresses, verdict, lostPorts, tenure }: AddressAnswer): Say {
  const remedy = verdict.remedy === undefined ? '' : ` ${verdict.remedy}`
  const sentence = `${verdict.message}${remedy === '' ? '' : `.${remedy}`}`
  const say = { addresses, ok: verdict.ok, code: verdict.code, message: sentence, portsHeld: formatTenure(tenure) }
  if (!verdict.ok || lostPorts === undefined || lostPorts.size === 0) return say
  const code: VerdictCode = 'SomePortsTaken'
  const taken = someOf([...lostPorts].map(([port, owner]) => `${port} belongs to ${owner}, which had it first`))
  return { ...say, code, message: `${sentence}; ${taken.join('; ')}` }
}

/**
 * What has to be applied; undefined: everything is as it should be. `say` undefined: the Service is none of ours, and
 * what we said of it goes. `now` as RFC 3339.
 */
export function statusToApply(
  facts: ServiceFacts,
  say: Say | undefined,
  owned: OwnedByOthers | undefined,
  now: string,
): RawObject | undefined {
  if (say === undefined) return currentOf(facts).length === 0 || owned?.isConditionOwned === true ? undefined : {}
  if (facts.isDeleting && (say.isUnread === true || facts.addresses.every((each) => say.addresses.includes(each))))
    return undefined
  const ingress = say.isUnread === true ? keptIngress(facts) : ingressOf(facts, say.addresses)
  const isTaken = owned?.ingressText !== undefined && ingress !== undefined && ingress !== facts.ingress
  const said = isTaken ? takenSay(say, owned.message) : say
  const conditions = owned?.isConditionOwned === true ? undefined : conditionsFor(facts, said, now)
  const isSaid = conditions === undefined || (facts.isSaidByUs && isSameList(conditions, currentOf(facts)))
  const isGiven = isTaken || ingress === undefined || ingress === facts.ingress
  if (isSaid && isGiven) return undefined
  return {
    ...(isTaken || ingress === undefined ? {} : { loadBalancer: { ingress } }),
    ...(conditions === undefined ? {} : { conditions }),
  }
}

/** Somebody else wrote addresses of which we may change none. */
function takenSay({ addresses }: Say, message: string): Say {
  const code: VerdictCode = 'StatusOwned'
  return {
    addresses,
    ok: false,
    code,
    message:
      `${addresses.join(', ')} is held for this Service and cannot be written, since somebody else gives it ` +
      `addresses: ${message}. Stop the other allocator, or clear status.loadBalancer.`,
  }
}

function keptIngress({ ingress }: ServiceFacts): readonly RawObject[] | undefined {
  return ingress.length === 0 ? undefined : ingress
}

/** The very list that is there where it has the addresses; undefined where there are none to give. */
function ingressOf({ ingress }: ServiceFacts, addresses: readonly string[]): readonly RawObject[] | undefined {
  if (addresses.length === 0) return undefined
  const entryOf = (address: string): RawObject | undefined =>
    ingress.find(({ ip }) => typeof ip === 'string' && canonical(ip) === address)
  // Also where one is there twice: nobody is told anything else by that.
  const isSame =
    addresses.every((address) => entryOf(address) !== undefined) &&
    ingress.every(({ ip }) => typeof ip === 'string' && addresses.includes(canonical(ip)))
  if (isSame) return ingress
  return addresses.map((ip) => {
    const mode = entryOf(ip)?.['ipMode']
    return { ip, ipMode: mode === 'Proxy' ? 'Proxy' : 'VIP' }
  })
}

function currentOf({ condition, portsHeld }: ServiceFacts): readonly StatusCondition[] {
  return [condition, portsHeld].flatMap((each) => each ?? [])
}

function isSameList(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((each, index) => each === b[index])
}

function conditionsFor(facts: ServiceFacts, say: Say, now: string): readonly StatusCondition[] {
  const { ok, code, message, portsHeld } = say
  const status = ok ? 'True' : 'False'
  const said = { type: conditionType, status, reason: code, message: clipped(message, maxMessage) } as const
  const allocated = conditionFor(facts.condition, said, now)
  // Of what is not understood now nothing else is said: an apply without it would take it away.
  if (say.isUnread === true && facts.portsHeld !== undefined) return [allocated, facts.portsHeld]
  if (portsHeld === undefined) return [allocated]
  const held = { type: portsHeldCondition, status: 'True', reason: 'Recorded', message: portsHeld } as const
  return [allocated, conditionFor(facts.portsHeld, held, now)]
}

/** The one that is there where it says the same. */
function conditionFor(
  before: StatusCondition | undefined,
  said: Omit<StatusCondition, 'lastTransitionTime'>,
  now: string,
): StatusCondition {
  const { status, reason, message } = said
  if (before?.status === status && before.reason === reason && before.message === message) return before
  return { ...said, lastTransitionTime: before?.status === status ? before.lastTransitionTime : now }
}

function conditionOf(type: string, written: RawObject): StatusCondition {
  const text = (name: string): string => (typeof written[name] === 'string' ? written[name] : '')
  const status = text('status')
  return {
    type,
    status: status === 'True' || status === 'False' ? status : 'Unknown',
    reason: text('reason'),
    message: text('message'),
    lastTransitionTime: text('lastTransitionTime'),
  }
}

/** What is no address is left out; more than these are nobody's. */
export function addressesOf(ingress: readonly RawObject[]): readonly string[] {
  return keptList(
    ingress
      .slice(0, maxIngress)
      .flatMap(({ ip }) => (typeof ip === 'string' && parseAddress(ip) !== undefined ? [canonical(ip)] : [])),
  )
}

function canonical(ip: string): string {
  const parsed = parseAddress(ip)
  return parsed === undefined ? ip : formatAddress(unmapped(parsed))
}
