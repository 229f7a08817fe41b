/** The families of configuration that are understood, and what they ask of a node together. Pure. */
import type { Problem } from '../../desired/model.ts'
import { fault } from '../kinds/narrow.ts'
import { problemOf } from '../kinds/problems.ts'
import type { ServedKind, StoredObjects } from '../kinds/table.ts'
import { ciliumV1 } from './cilium-v1.ts'
import {
  planKey,
  type Dialect,
  type DialectAnswer,
  type NodeFacts,
  type PlanNeighbor,
  type PlanOptions,
} from './node-plan.ts'

const dialects: readonly Dialect[] = [ciliumV1]

/** Values of loadBalancerClass that are ours: our own, and those of the dialects. */
export const servedClasses: readonly string[] = [
  'herald.dev/bgp',
  ...dialects.flatMap((dialect) => dialect.loadBalancerClasses),
]

/** A change of an object of these kinds may change the plan of every node. */
export const planKinds: ReadonlySet<ServedKind> = new Set(dialects.flatMap((dialect) => dialect.planKinds))

/** The plans of all dialects as one. A neighbor that two of them ask for is the one of the first. */
export function planNode(objects: StoredObjects, node: NodeFacts, options: PlanOptions): DialectAnswer {
  const answers = dialects.map((dialect) => dialect.plan(objects, node, options))
  const plans = answers.flatMap(({ plan }) => plan ?? [])
  const problems: Problem[] = answers.flatMap((answer) => answer.problems)
  const neighbors = new Map<string, PlanNeighbor>()
  for (const neighbor of plans.flatMap((plan) => plan.neighbors)) {
    const first = neighbors.get(planKey(neighbor))
    if (first === undefined) neighbors.set(planKey(neighbor), neighbor)
    else problems.push(doubled(neighbor, first))
  }
  const noPlan = {
    message: answers.map(({ noPlan: { message } }) => message).join('; '),
    remedy: answers.map(({ noPlan: { remedy } }) => remedy).join(' Or: '),
  }
  if (plans.length === 0) return { plan: undefined, noPlan, problems }
  const plan = {
    names: plans.flatMap(({ names }) => names),
    neighbors: [...neighbors.values()],
    podCidrExports: plans.flatMap(({ podCidrExports }) => podCidrExports),
  }
  return { plan, noPlan, problems }
}

function doubled({ from, path, peerAddress }: PlanNeighbor, first: PlanNeighbor): Problem {
  const message = `${peerAddress} is a neighbor of ${first.from.key.kind} ${first.from.key.name} already, which counts`
  return problemOf(fault('error', path, 'DuplicateNeighbor', message, 'Remove one of the two.'), from.key, from.origin)
}
