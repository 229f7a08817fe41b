/**
 * What the status of a Service says now, and what it should say. One write carries both the addresses and why. Pure.
 */
import type { AddressAnswer } from '../allocation/address-source.ts'
import type { VerdictCode } from '../desired/codes.ts'
import { formatAddress, parseAddress, unmapped } from '../ip/address.ts'
import type { ObjectKey, ObjectVersion, RawObject } from '../k8s/source.ts'
import type { ObjectVersionRef, StatusCondition } from '../k8s/status.ts'
import { clipped } from './clipped.ts'

/** The one condition that is ours. */
const conditionType = 'herald.dev/AddressAllocated'
/** Octets of what a condition says; the API server takes 32 KiB. */
const maxMessage = 1024
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
}

export function factsOf(key: ObjectKey, object: RawObject, version: ObjectVersion): ServiceFacts {
  const status = recordOf(object['status'])
  const { ingress } = recordOf(status['loadBalancer'])
  const entries = Array.isArray(ingress) ? ingress.map(recordOf) : []
  const { conditions } = status
  const own = (Array.isArray(conditions) ? conditions : []).map(recordOf).find(({ type }) => type === conditionType)
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
    condition: own === undefined ? undefined : conditionOf(own),
  }
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
}

export function sayOf({ addresses, verdict, lostPorts }: AddressAnswer): Say {
  const remedy = verdict.remedy === undefined ? '' : ` ${verdict.remedy}`
  const sentence = `${verdict.message}${remedy === '' ? '' : `.${remedy}`}`
  if (verdict.ok && lostPorts !== undefined && lostPorts.size > 0) {
    const code: VerdictCode = 'SomePortsTaken'
    const taken = [...lostPorts].map(([port, owner]) => `${port} belongs to ${owner}, which is older`)
    return { addresses, ok: true, code, message: `${sentence}; ${taken.join('; ')}` }
  }
  return { addresses, ok: verdict.ok, code: verdict.code, message: sentence }
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
  if (say === undefined) return facts.condition === undefined || owned?.isConditionOwned === true ? undefined : {}
  if (facts.isDeleting) return undefined
  const ingress = say.isUnread === true ? keptIngress(facts) : ingressOf(facts, say.addresses)
  const isTaken = owned?.ingressText !== undefined && ingress !== undefined && ingress !== facts.ingress
  const said = isTaken ? takenSay(say, owned.message) : say
  const condition = owned?.isConditionOwned === true ? undefined : conditionFor(facts, said, now)
  const isSaid = condition === undefined || condition === facts.condition
  const isGiven = isTaken || ingress === undefined || ingress === facts.ingress
  if (isSaid && isGiven) return undefined
  return {
    ...(isTaken || ingress === undefined ? {} : { loadBalancer: { ingress } }),
    ...(condition === undefined ? {} : { conditions: [condition] }),
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

/** The one that is there where it says the same. */
function conditionFor({ condition: before }: ServiceFacts, { ok, code, message }: Say, now: string): StatusCondition {
  const status = ok ? 'True' : 'False'
  const text = clipped(message, maxMessage)
  if (before?.status === status && before.reason === code && before.message === text) return before
  const lastTransitionTime = before?.status === status ? before.lastTransitionTime : now
  return { type: conditionType, status, reason: code, message: text, lastTransitionTime }
}

function conditionOf(written: RawObject): StatusCondition {
  const text = (name: string): string => (typeof written[name] === 'string' ? written[name] : '')
  const status = text('status')
  return {
    type: conditionType,
    status: status === 'True' || status === 'False' ? status : 'Unknown',
    reason: text('reason'),
    message: text('message'),
    lastTransitionTime: text('lastTransitionTime'),
  }
}

/** What is no address is left out; more than these are nobody's. */
export function addressesOf(ingress: readonly RawObject[]): readonly string[] {
  return ingress
    .slice(0, maxIngress)
    .flatMap(({ ip }) => (typeof ip === 'string' && parseAddress(ip) !== undefined ? [canonical(ip)] : []))
}

function canonical(ip: string): string {
  const parsed = parseAddress(ip)
  return parsed === undefined ? ip : formatAddress(unmapped(parsed))
}

function recordOf(value: unknown): RawObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {}
}
