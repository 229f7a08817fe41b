/** Whether a node may announce addresses of Services at all, by its Node. Pure. */
import type { VerdictCode } from '../../desired/codes.ts'
import type { Node } from '../kinds/node.ts'
import type { TranslatorOptions } from './types.ts'

/** Why a node announces no Service. */
export interface NodeObstacle {
  readonly code: VerdictCode
  readonly message: string
  readonly remedy: string
}

const excludeLabel = 'node.kubernetes.io/exclude-from-external-load-balancers'

/** Words of `--withdraw-on` and the condition of the Node that each stands for. */
const conditions: Readonly<Record<string, string>> = {
  'not-ready': 'NotReady',
  'disk-pressure': 'DiskPressure',
  'memory-pressure': 'MemoryPressure',
  'pid-pressure': 'PIDPressure',
}

/** The sessions, and what is no Service, stay. */
export function nodeObstacle(
  node: Node | undefined,
  { nodeName, ignoreExcludeLb = false, withdrawOn = [] }: TranslatorOptions,
): NodeObstacle | undefined {
  if (node === undefined) return undefined
  if (!ignoreExcludeLb && Object.hasOwn(node.metadata.labels, excludeLabel))
    return {
      code: 'NodeExcluded',
      message: `node ${nodeName} has the label ${excludeLabel}`,
      remedy: 'Remove the label from the Node, or start the agent with --ignore-exclude-lb.',
    }
  if (node.troubles.includes('NetworkUnavailable'))
    return {
      code: 'NetworkUnavailable',
      message: `the network of node ${nodeName} is not available, by the condition of its Node`,
      remedy: 'See what the CNI of the node says.',
    }
  const reason = withdrawOn.map((word) => reasonOf(word, node)).find((each) => each !== undefined)
  if (reason === undefined) return undefined
  const remedy = 'It is announced again when that ends; the agent was started with --withdraw-on.'
  return { code: 'NodeWithdrawn', message: `node ${nodeName} ${reason}`, remedy }
}

function reasonOf(word: string, { isUnschedulable, taints, troubles }: Node): string | undefined {
  if (word === 'unschedulable') return isUnschedulable ? 'is cordoned' : undefined
  const condition = conditions[word]
  if (condition !== undefined) return troubles.includes(condition) ? `has the condition ${condition}` : undefined
  const key = word.slice(word.indexOf(':') + 1)
  return taints.includes(key) ? `has the taint ${key}` : undefined
}
