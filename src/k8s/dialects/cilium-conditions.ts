/**
 * What Cilium's operator says of its objects, by its names: True is what is wrong. Pure.
 */
import { selectorMatches } from '../../desired/label-selector.ts'
import { byAge, type Stored, type StoredObjects } from '../kinds/table.ts'
import type { SaidCondition } from '../status.ts'
import type { KeyReports } from './node-plan.ts'

/** Of a CiliumBGPClusterConfig, by its name. */
export function clusterConfigConditions(objects: StoredObjects): ReadonlyMap<string, readonly SaidCondition[]> {
  const configs = [...objects.CiliumBGPClusterConfig.values()].sort(byAge)
  const [selected, rivals] = [new Set<string>(), new Map<string, Set<string>>()]
  for (const { value: node } of objects.Node.values()) {
    const [owner, ...others] = configs.filter(({ value }) =>
      selectorMatches(value.nodeSelector ?? {}, node.metadata.labels),
    )
    if (owner === undefined) continue
    for (const { key } of [owner, ...others]) selected.add(key.name)
    for (const { key } of others) {
      const names = rivals.get(key.name) ?? new Set()
      rivals.set(key.name, names.add(owner.key.name))
    }
  }
  return new Map(
    configs.map((config) => {
      const { name } = config.key
      const missing = missingPeerConfigs(config, objects)
      const conflicting = [...(rivals.get(name) ?? [])].sort()
      return [
        name,
        [
          said('NoMatchingNode', 'NoMatchingNode', selected.has(name) ? '' : 'No node matches spec.nodeSelector'),
          said(
            'MissingPeerConfigs',
            'MissingPeerConfigs',
            listed('Referenced CiliumBGPPeerConfig(s) are missing', missing),
          ),
          said(
            'ConflictingClusterConfig',
            'ConflictingClusterConfigs',
            listed('Selecting the same node(s) with ClusterConfig(s)', conflicting),
          ),
        ],
      ]
    }),
  )
}

/** Of a CiliumBGPPeerConfig, by its name. Agents read the Secrets, and say it when one is missing. */
export function peerConfigConditions(
  { CiliumBGPPeerConfig: configs }: StoredObjects,
  { isAny, faults }: KeyReports,
): ReadonlyMap<string, readonly SaidCondition[]> {
  const type = 'MissingAuthSecret'
  const missing = new Map(
    faults.flatMap(({ object: { kind, name }, message }) => (kind === 'CiliumBGPPeerConfig' ? [[name, message]] : [])),
  )
  return new Map(
    [...configs].map(([name, { value }]) => {
      const isNamed = Boolean(value.settings.authSecretRef)
      const isOpen = isNamed && !isAny
      const condition = isOpen
        ? { type: `cilium.io/${type}`, status: 'Unknown' as const, reason: type, message: 'No agent has said it yet' }
        : said(type, type, isNamed ? (missing.get(name) ?? '') : '')
      return [name, [condition]]
    }),
  )
}

/** Without a message nothing is wrong. */
function said(type: string, reason: string, message: string): SaidCondition {
  return { type: `cilium.io/${type}`, status: message === '' ? 'False' : 'True', reason, message }
}

const listed = (what: string, names: readonly string[]): string =>
  names.length === 0 ? '' : `${what}: [${names.join(' ')}]`

function missingPeerConfigs({ value }: Stored<'CiliumBGPClusterConfig'>, objects: StoredObjects): readonly string[] {
  const named = value.instances.flatMap(({ peers }) => peers.flatMap(({ peerConfigRef }) => peerConfigRef?.name ?? []))
  return [...new Set(named)].filter((name) => !objects.CiliumBGPPeerConfig.has(name)).sort()
}
