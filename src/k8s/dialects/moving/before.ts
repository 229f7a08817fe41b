/** The one place that chooses between the families that can be moved from. Pure. */
import type { Neighbor } from '../../../desired/model.ts'
import type { Node } from '../../kinds/node.ts'
import type { StoredObjects } from '../../kinds/table.ts'
import type { NodeFacts } from '../node-plan.ts'
import { ciliumBefore } from './cilium-before.ts'
import { type BeforeNode, metallbBefore } from './metallb-before.ts'
import { metallbPreflight } from './preflight-metallb.ts'
import { type Backend, type Finding, type Inventory, type MovingFrom, nameOf } from './report.ts'
import { backendOf, type Machinery, machineryOf, metallbNamespaceOf } from './speakers.ts'

export interface Origins {
  readonly machinery: Machinery
  readonly backend: Backend | undefined
  readonly preflight: readonly Finding[]
  before(facts: NodeFacts, node: Node | undefined): BeforeNode
}

interface BeforeInput {
  readonly from: MovingFrom
  readonly inventory: Inventory
  readonly objects: StoredObjects
  readonly options: {
    readonly backend?: Backend
    readonly secretsNamespace: string
    readonly loadBalancerClass?: string
    readonly isClassRequired?: boolean
  }
}

/** What MetalLB has where nobody chose. */
const defaultBackend: Backend = 'frr-k8s'

export function beforeOf({ from, inventory, objects, options }: BeforeInput): Origins {
  const machinery = machineryOf(inventory)
  const { secretsNamespace, loadBalancerClass, isClassRequired = false } = options
  if (from === 'cilium')
    return {
      machinery,
      backend: undefined,
      preflight: [],
      before: (facts, node) => ciliumBefore({ objects, facts, node, secretsNamespace }),
    }
  const known = options.backend ?? backendOf(machinery, inventory)
  const backend = known ?? defaultBackend
  const namespace = metallbNamespaceOf(machinery, inventory)
  const isBackendAssumed = known === undefined
  return {
    machinery,
    backend,
    preflight: metallbPreflight({
      inventory,
      machinery,
      objects,
      namespace,
      loadBalancerClass,
      isClassRequired,
      backend,
      isBackendAssumed,
    }),
    before: (facts, node) => metallbBefore({ objects, facts, node, backend, namespace }),
  }
}

/** As the ids of sessions before. */
export function idOfNeighbor({ source, virtualRouter, peerAddress }: Neighbor): string {
  return source.kind === 'BGPPeer' ? nameOf(source) : `${nameOf(source)} ${virtualRouter} ${peerAddress}`
}

/** Of a session that the one who is moved from does not have. */
export const otherSpeaker = {
  reason: 'every family of configuration is read here: an object of another one asks for this session',
  remedy: 'Delete the object, or let the router have this session.',
}
