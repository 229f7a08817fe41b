/** From IPAddressPool to neutral pools. Pure. */
import { type AddressRange, noPriority } from '../../allocation/pool-table.ts'
import { selectorMatches } from '../../desired/label-selector.ts'
import { rangeOfBlock } from '../kinds/address-blocks.ts'
import { blockOf, type IpAddressPool } from '../kinds/ip-address-pool.ts'
import { fault } from '../kinds/narrow.ts'
import { problemOf } from '../kinds/problems.ts'
import type { Stored, StoredObjects } from '../kinds/table.ts'
import type { PlannedPool, PoolDialect } from './pools.ts'

export const metallbPools: PoolDialect = {
  poolKinds: ['IPAddressPool'],
  inputKinds: ['Namespace'],
  pools: (objects) =>
    [...objects.IPAddressPool.values()].map((from): PlannedPool => {
      const { metadata, spec } = from.value
      const { namespaces, unmatched } = namespacesOf(spec.serviceAllocation ?? undefined, objects)
      return {
        from,
        path: ['spec', 'addresses'],
        pool: {
          kind: 'IPAddressPool',
          name: metadata.name,
          namespace: from.key.namespace,
          labels: metadata.labels,
          ranges: rangesOf(spec),
          selectors: spec.serviceAllocation?.serviceSelectors ?? [],
          ...(namespaces === undefined ? {} : { namespaces }),
          autoAssign: spec.autoAssign,
          priority: priorityOf(spec),
          isWhole: true,
        },
        problems: unmatched.map((index) => noNamespace(from, index)),
      }
    }),
}

type Allocation = NonNullable<IpAddressPool['spec']['serviceAllocation']>

/** A pool for some Services gives before one for all, and without a priority after those that have one. */
function priorityOf({ serviceAllocation: allocation }: IpAddressPool['spec']): number {
  const { priority = 0 } = allocation ?? {}
  if (priority !== 0) return priority
  return allocation ? noPriority - 1 : noPriority
}

function rangesOf({ addresses, avoidBuggyIPs }: IpAddressPool['spec']): readonly AddressRange[] {
  return addresses.flatMap((text) => {
    const range = rangeOfBlock(blockOf(text))
    return range === undefined ? [] : [{ ...range, sparesEnds: false, ...(avoidBuggyIPs ? { sparesBuggy: true } : {}) }]
  })
}

/** Those by name and those by label; undefined: all. `unmatched`: selectors that no Namespace fits. */
function namespacesOf(
  allocation: Allocation | undefined,
  { Namespace: known }: StoredObjects,
): { readonly namespaces: readonly string[] | undefined; readonly unmatched: readonly number[] } {
  const { namespaces = [], namespaceSelectors = [] } = allocation ?? {}
  const isForAll = namespaceSelectors.some(
    ({ matchLabels = {}, matchExpressions = [] }) =>
      Object.keys(matchLabels).length === 0 && matchExpressions.length === 0,
  )
  if (isForAll || (namespaces.length === 0 && namespaceSelectors.length === 0))
    return { namespaces: undefined, unmatched: [] }
  const found = namespaceSelectors.map((selector) =>
    [...known.values()].flatMap(({ value: { metadata } }) =>
      selectorMatches(selector, metadata.labels) ? [metadata.name] : [],
    ),
  )
  return {
    namespaces: [...new Set([...namespaces, ...found.flat()])].sort(),
    unmatched: found.flatMap((names, index) => (names.length === 0 ? [index] : [])),
  }
}

function noNamespace({ key, origin }: Stored, index: number) {
  const path = ['spec', 'serviceAllocation', 'namespaceSelectors', index]
  const message = 'no Namespace that is known has such labels: it selects no Service'
  const remedy = 'Label the Namespace; a folder has to hold the Namespace object for that.'
  return problemOf(fault('warning', path, 'UnknownName', message, remedy), key, origin)
}
