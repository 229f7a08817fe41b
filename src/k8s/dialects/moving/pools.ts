/** Pools before and after. Pure. */
import { planPools } from '../pools.ts'
import type { StoredObjects } from '../../kinds/table.ts'
import { poolOrder } from './preflight-metallb.ts'
import { finding, type Finding, type MovingFrom, nameOf, type PoolRow, type PoolView } from './report.ts'

const kindOf = { metallb: 'IPAddressPool', cilium: 'CiliumLoadBalancerIPPool' } as const

/** Pools of the other family are new to whoever had these. */
export function poolRows(
  objects: StoredObjects,
  from: MovingFrom,
): { readonly rows: readonly PoolRow[]; readonly differences: readonly Finding[] } {
  const rows = planPools(objects).map(({ from: { key }, pool }): PoolRow => {
    const after: PoolView = {
      addresses: addressesOf(objects, key.kind, idOf(key)),
      autoAssign: pool.autoAssign,
      ...(pool.closed === undefined ? {} : { closed: pool.closed }),
    }
    return { object: nameOf(key), ...(key.kind === kindOf[from] ? { before: after } : {}), after }
  })
  const added = rows.filter(({ before }) => before === undefined)
  const differences = added.map(({ object }) =>
    finding('PoolDiffers', {
      object,
      field: '',
      after: 'gives addresses',
      reason: 'pools of both families give addresses to Services here',
      remedy: 'Delete it, or give it a selector of the Services that it is for.',
    }),
  )
  return { rows, differences: [...differences, ...(from === 'metallb' ? poolOrder(objects) : [])] }
}

const idOf = ({ namespace, name }: { readonly namespace: string; readonly name: string }): string =>
  namespace === '' ? name : `${namespace}/${name}`

function addressesOf(objects: StoredObjects, kind: string, id: string): readonly string[] {
  if (kind === 'IPAddressPool') return objects.IPAddressPool.get(id)?.value.spec.addresses ?? []
  const spec = objects.CiliumLoadBalancerIPPool.get(id)?.value.spec
  return [...(spec?.blocks ?? []), ...(spec?.cidrs ?? [])].map(
    ({ cidr, start = '', stop }) => cidr ?? (stop === undefined ? start : `${start}-${stop}`),
  )
}

/** Whether Services without an endpoint were announced. */
export function servedWithout(from: MovingFrom): boolean {
  return from === 'cilium'
}
