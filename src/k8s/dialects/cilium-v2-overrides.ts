/**
 * What the CiliumBGPNodeConfigOverride of a node says of the instances and peers of the configuration that applies to
 * it. A name that the configuration does not have is probably a slip: it is told, and while it is only a slip away from
 * what stood in its place that is meant, so that no session changes its AS for it. Pure.
 */
import type { BgpInstance } from '../kinds/cilium-bgp-cluster-config.ts'
import type { InstanceOverride } from '../kinds/cilium-bgp-node-config-override.ts'
import { fault, type Fault, type FieldPath } from '../kinds/narrow.ts'
import { nearest } from '../kinds/nearest.ts'
import type { ObjectKey } from '../source.ts'
import type { NameMemory } from './name-memory.ts'

export interface Overrides {
  /** By the name of the instance that is meant; its peers have the names that are meant. */
  readonly byInstance: ReadonlyMap<string, InstanceOverride>
  readonly faults: readonly Fault[]
}

/** One of a list of things with names, and where it is written. */
interface Named {
  readonly name: string
  readonly path: FieldPath
}

export function overridesOf(
  override: { readonly key: ObjectKey; readonly value: { readonly instances: readonly InstanceOverride[] } },
  config: { readonly name: string; readonly instances: readonly BgpInstance[] },
  memory: NameMemory,
): Overrides {
  const { key, value } = override
  const faults: Fault[] = []
  const meantIn = <T extends Named>(what: string, field: string, list: readonly T[], known: readonly string[]) =>
    list.flatMap((each, index) => {
      const names = list.map(({ name }) => name)
      const meant = memory.nameAt({ key, field, list: names, index }, (name) => known.includes(name))
      if (meant !== each.name) faults.push(noSuchPart(config.name, what, each, meant, known))
      // What is written counts before what is meant by a slip.
      return meant === undefined || (meant !== each.name && names.includes(meant)) ? [] : [{ ...each, name: meant }]
    })
  const byName = new Map(config.instances.map(({ name, peers }) => [name, peers.map((peer) => peer.name)]))
  const instances = meantIn('instance', 'bgpInstances', value.instances, [...byName.keys()])
  return {
    byInstance: new Map(
      instances.map((each) => {
        const peers = meantIn('peer', `bgpInstances.${each.name}.peers`, each.peers, byName.get(each.name) ?? [])
        return [each.name, { ...each, peers }]
      }),
    ),
    faults,
  }
}

function noSuchPart(
  config: string,
  what: string,
  { name, path }: Named,
  meant: string | undefined,
  known: readonly string[],
): Fault {
  const near = meant ?? nearest(name, known)
  const effect = meant === undefined ? 'it has no effect' : `${meant}, which stood here, is meant`
  const message = `CiliumBGPClusterConfig ${config} has no ${what} ${name}: ${effect}`
  const remedy = near === undefined ? `Write one of ${known.join(', ')}.` : `Did you mean ${near}?`
  return fault('warning', [...path, 'name'], 'NoSuchPart', message, remedy)
}
