/**
 * MetalLB's ServiceBGPStatus: to which neighbors a node is to announce a Service, one object for each node and Service.
 * Labels and fields are MetalLB's, so that what reads them there reads them here. Pure.
 */
import { type RawObject, recordOf } from '../source.ts'
import { isOwnObject, ownLabels } from './node-report.ts'

export const serviceStatusKind = { apiVersion: 'metallb.io/v1beta1', kind: 'ServiceBGPStatus' } as const
export const serviceStatusResource = 'servicebgpstatuses'
export const serviceStatusAbsent = 'the API server has no kind ServiceBGPStatus, which MetalLB brings'

const nodeLabel = 'metallb.io/node'
const nameLabel = 'metallb.io/service-name'
const namespaceLabel = 'metallb.io/service-namespace'
const maxLabel = 63

/** Whose statuses they are; a name of a node that is longer than a label may be has none. */
export function serviceStatusLabels(node: string): Readonly<Record<string, string>> {
  return { ...ownLabels, ...(node.length > maxLabel ? {} : { [nodeLabel]: node }) }
}

export interface ServiceStatusParts {
  readonly name: string
  readonly namespace: string
  readonly node: string
  readonly nodeUid: string
  /** `namespace/name` */
  readonly service: string
}

/** Without what the server adds; it goes with its Node. */
export function serviceStatusObject({ name, namespace, node, nodeUid, service }: ServiceStatusParts): RawObject {
  const [serviceNamespace, serviceName] = partsOf(service)
  return {
    ...serviceStatusKind,
    metadata: {
      name,
      namespace,
      labels: { ...serviceStatusLabels(node), [nameLabel]: serviceName, [namespaceLabel]: serviceNamespace },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: node, uid: nodeUid }],
    },
  }
}

export function serviceStatus(node: string, service: string, peers: readonly string[]): RawObject {
  const [serviceNamespace, serviceName] = partsOf(service)
  return { node, serviceName, serviceNamespace, peers }
}

export interface StatedService {
  /** `namespace/name` */
  readonly service: string
  readonly nodeUid: unknown
  readonly peers: readonly string[]
}

/** What an object of ours says. */
export function statedService(object: RawObject): StatedService | undefined {
  const { labels: all, ownerReferences } = recordOf(object['metadata'])
  const labels = recordOf(all)
  const [owner] = Array.isArray(ownerReferences) ? ownerReferences : []
  const [name, namespace] = [labels[nameLabel], labels[namespaceLabel]]
  if (!isOwnObject(object) || typeof name !== 'string' || typeof namespace !== 'string') return undefined
  const { peers } = recordOf(object['status'])
  return {
    service: `${namespace}/${name}`,
    nodeUid: recordOf(owner)['uid'],
    peers: Array.isArray(peers) ? peers.map(String) : [],
  }
}

function partsOf(service: string): readonly [string, string] {
  const slash = service.indexOf('/')
  return [service.slice(0, slash), service.slice(slash + 1)]
}
