/**
 * The sign of life of an agent: a Lease for each node, renewed as kubelet renews its own, and what is read off it.
 * Pure.
 *
 * Nobody compares the clocks of two nodes: the time of the last renewal is the one that the API server wrote down
 * beside it (managedFields), and now is the Date of the server's answer.
 */
import type { LeaseMetadata } from './lease.ts'
import { type RawObject, recordOf } from './source.ts'

/** A renewal in so many seconds, and how long its absence means nothing; as kubelet has it. */
export const renewEverySec = 10
export const lifeLastsSec = 40
/** What a Lease may say of itself. */
const shortestSec = 10
const longestSec = 600

const labels: Readonly<Record<string, string>> = {
  'app.kubernetes.io/managed-by': 'herald',
  'app.kubernetes.io/component': 'agent',
}
const factsAnnotation = 'herald.dev/agent'

/** By which the Leases of agents are found, in whatever namespace. */
export const lifeSelector = Object.entries(labels)
  .map(([name, value]) => `${name}=${value}`)
  .join(',')

/** The flags of an agent that decide what its node announces. */
export interface AgentFacts {
  readonly version: string
  readonly datapath: 'ebpf' | 'none'
  readonly secretsNamespace: string
  readonly ignoreExcludeLb: boolean
  readonly withdrawOn: readonly string[]
  readonly isClassRequired: boolean
  readonly loadBalancerClass?: string
  /** Of a version that knows nothing else: `none`. */
  readonly remoteBackends: 'tunnel' | 'none'
  /** Why it does no SNAT where a Service asks for it; empty: it does. */
  readonly whyNoSnat: string
}

export interface NodeLife {
  readonly node: string
  /** By the clock of the server, ms since the epoch; undefined: it did not write one down. */
  readonly renewedMs: number | undefined
  readonly lastsSec: number
  readonly facts: AgentFacts | undefined
}

export function lifeName(node: string): string {
  return `herald-agent-${node}`
}

/** With the uid of its Node the Lease goes when the Node goes. */
export function lifeMetadata(node: string, facts: AgentFacts, nodeUid: string | undefined): LeaseMetadata {
  const owner = { apiVersion: 'v1', kind: 'Node', name: node, uid: nodeUid }
  return {
    labels,
    annotations: { [factsAnnotation]: JSON.stringify(facts) },
    ...(nodeUid === undefined ? {} : { ownerReferences: [owner] }),
  }
}

/** undefined: the Lease is held by nobody. */
export function nodeLifeOf(lease: RawObject): NodeLife | undefined {
  const [metadata, spec] = [recordOf(lease['metadata']), recordOf(lease['spec'])]
  const { holderIdentity: node, leaseDurationSeconds: seconds } = spec
  if (typeof node !== 'string' || node === '') return undefined
  const lasts = typeof seconds === 'number' && Number.isFinite(seconds) ? seconds : lifeLastsSec
  return {
    node,
    renewedMs: renewedMs(metadata['managedFields']),
    lastsSec: Math.min(Math.max(lasts, shortestSec), longestSec),
    facts: factsOf(recordOf(metadata['annotations'])[factsAnnotation]),
  }
}

/** Whole seconds without a word, at `nowMs` by the clock of the server; undefined: there is no telling. */
export function silenceSec({ renewedMs: atMs }: NodeLife, nowMs: number | undefined): number | undefined {
  if (atMs === undefined || nowMs === undefined) return undefined
  return Math.max(0, Math.round((nowMs - atMs) / 1000))
}

/** When the renewal was written: somebody may have written a label later. */
function renewedMs(managedFields: unknown): number | undefined {
  const times = (Array.isArray(managedFields) ? managedFields : []).map(recordOf).flatMap(({ time, fieldsV1 }) => {
    const fields = recordOf(recordOf(fieldsV1)['f:spec'])
    const atMs = Date.parse(String(time))
    return 'f:renewTime' in fields && !Number.isNaN(atMs) ? [atMs] : []
  })
  return times.length === 0 ? undefined : Math.max(...times)
}

function factsOf(text: unknown): AgentFacts | undefined {
  if (typeof text !== 'string') return undefined
  let read: RawObject
  try {
    read = recordOf(JSON.parse(text))
  } catch {
    return undefined
  }
  const word = (name: string): string => (typeof read[name] === 'string' ? read[name] : '')
  const { withdrawOn, loadBalancerClass } = read
  return {
    version: word('version'),
    datapath: read['datapath'] === 'ebpf' ? 'ebpf' : 'none',
    secretsNamespace: word('secretsNamespace'),
    ignoreExcludeLb: read['ignoreExcludeLb'] === true,
    withdrawOn: (Array.isArray(withdrawOn) ? withdrawOn : []).filter((each) => typeof each === 'string'),
    isClassRequired: read['isClassRequired'] === true,
    remoteBackends: read['remoteBackends'] === 'tunnel' ? 'tunnel' : 'none',
    whyNoSnat: typeof read['whyNoSnat'] === 'string' ? read['whyNoSnat'] : 'its agent is of a version that does none',
    ...(typeof loadBalancerClass === 'string' ? { loadBalancerClass } : {}),
  }
}
