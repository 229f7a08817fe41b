/** The families of configuration that are understood, and what they ask of a node together. Pure. */
import type { Problem } from '../../desired/model.ts'
import { someOf } from '../../desired/some-of.ts'
import { fault } from '../kinds/narrow.ts'
import { problemOf } from '../kinds/problems.ts'
import type { ServedKind, StoredObjects } from '../kinds/table.ts'
import type { SaidCondition } from '../status.ts'
import { ciliumV1 } from './cilium-v1.ts'
import { ciliumV2 } from './cilium-v2.ts'
import { metallb } from './metallb.ts'
import { poolKinds } from './pools.ts'
import {
  planKey,
  type Dialect,
  type DialectAnswer,
  type KeyReports,
  type NodeFacts,
  type NoPlan,
  type PlanNeighbor,
  type PlanOptions,
} from './node-plan.ts'

const dialects: readonly Dialect[] = [ciliumV1, ciliumV2, metallb]

/** Values of loadBalancerClass that are ours: our own, and those of the dialects. */
export const servedClasses: readonly string[] = [
  'herald.dev/bgp',
  ...new Set(dialects.flatMap((dialect) => dialect.loadBalancerClasses)),
]

/** A change of an object of these kinds may change the plan of every node. */
export const planKinds: ReadonlySet<ServedKind> = new Set(dialects.flatMap((dialect) => dialect.planKinds))

/** What a user writes to say what is announced, and by whom: each object says itself whether it is understood. */
export const configurationKinds: ReadonlySet<ServedKind> = new Set([
  ...planKinds,
  ...dialects.flatMap(({ idleKinds = [] }) => idleKinds),
  ...poolKinds,
])

/** A node has one object of each of these. */
export const rivalKinds: ReadonlySet<ServedKind> = new Set(dialects.flatMap((dialect) => dialect.rivalKinds))

/**
 * The plans of all dialects as one. Of a neighbor that two of them ask for the settings of the first count, and it
 * hears what both advertise.
 */
export function planNode(objects: StoredObjects, node: NodeFacts, options: PlanOptions): DialectAnswer {
  const answers = dialects.map((dialect) => dialect.plan(objects, node, options))
  const plans = answers.flatMap(({ plan }) => plan ?? [])
  const { neighbors, problems } = unitedNeighbors(plans.flatMap((plan) => plan.neighbors))
  const said: readonly Problem[] = [...answers.flatMap((answer) => answer.problems), ...problems]
  // A dialect of which there is nothing has no say where there is something of another.
  const configured = answers.filter(({ noPlan: { isConfigured } }) => isConfigured)
  const { unread = [] } = node
  const speaking = configured.length > 0 ? configured : unread.length > 0 ? [] : answers
  const reasons = [...notUnderstood(unread), ...speaking.map((answer) => answer.noPlan)]
  const noPlan = {
    message: reasons.map(({ message }) => message).join('; '),
    remedy: reasons.map(({ remedy }) => remedy).join(' Or: '),
  }
  if (plans.length === 0) return { plan: undefined, noPlan, problems: said }
  const [only, ...others] = plans
  const plan = {
    names: plans.flatMap(({ names }) => names),
    neighbors,
    podCidrExports: plans.flatMap(({ podCidrExports }) => podCidrExports),
    needed: plans.flatMap(({ needed = [] }) => needed),
    meant: new Map(plans.flatMap(({ meant = new Map() }) => [...meant])),
    ...(only?.notAdvertised === undefined || others.length > 0 ? {} : { notAdvertised: only.notAdvertised }),
    ...(only?.nothingSelects === undefined || others.length > 0 ? {} : { nothingSelects: only.nothingSelects }),
    usesNetwork: plans.some(({ usesNetwork = false }) => usesNetwork),
  }
  return { plan, noPlan, problems: said }
}

/** Somebody wrote it, so that it is not true that there is none. */
function notUnderstood(unread: readonly string[]): readonly NoPlan[] {
  if (unread.length === 0) return []
  const message = `${someOf(unread).join(', ')} ${unread.length === 1 ? 'is' : 'are'} not understood`
  return [{ message, remedy: 'Correct it: `herald status` names the field.' }]
}

/** What the dialects say of their objects in conditions of their own: by kind and id. */
export function conditionsOfObjects(
  objects: StoredObjects,
  keys: KeyReports,
): Partial<Record<ServedKind, ReadonlyMap<string, readonly SaidCondition[]>>> {
  return Object.assign({}, ...dialects.map((dialect) => dialect.conditions?.(objects, keys) ?? {}))
}

/** Each session once, and no two under one key. */
function unitedNeighbors(all: readonly PlanNeighbor[]): {
  readonly neighbors: readonly PlanNeighbor[]
  readonly problems: readonly Problem[]
} {
  const found = new Map<string, PlanNeighbor>()
  const problems: Problem[] = []
  for (const neighbor of all) {
    const key = planKey(neighbor)
    const first = found.get(key)
    if (first === undefined) found.set(key, neighbor)
    else {
      problems.push(doubled(neighbor, first))
      found.set(key, { ...first, advertisements: [...first.advertisements, ...neighbor.advertisements] })
    }
  }
  return { neighbors: [...found.values()], problems }
}

function doubled({ from, path, peerAddress }: PlanNeighbor, first: PlanNeighbor): Problem {
  const { kind, name } = first.from.key
  const message = `${peerAddress} is a neighbor of ${kind} ${name} already, whose settings count`
  return problemOf(fault('error', path, 'DuplicateNeighbor', message, 'Remove one of the two.'), from.key, from.origin)
}
