/** Addresses of Services before and after a move: who has one keeps it, or it is said why not. Pure. */
import type { VerdictCode } from '../desired/codes.ts'
import type { DesiredService } from '../desired/model.ts'
import { servedWithout } from './dialects/moving/pools.ts'
import { finding, type Finding, type MovingFrom, type ServiceRow } from './dialects/moving/report.ts'
import type { StoredObjects } from './kinds/table.ts'

export type ServicesAnswer = ReadonlyMap<string, DesiredService>

export function serviceRows(
  objects: StoredObjects,
  answer: ServicesAnswer | undefined,
  from: MovingFrom,
): { readonly rows: readonly ServiceRow[]; readonly differences: readonly Finding[] } {
  const rows: ServiceRow[] = []
  const differences: Finding[] = []
  for (const [service, { value }] of objects.Service) {
    if (value.spec.type !== 'LoadBalancer') continue
    const desired = answer?.get(service)
    const before = value.status
    const after = desired?.addresses ?? []
    const isOurs = desired?.verdicts.every(({ step, ok }) => step !== 'class' || ok) ?? false
    if (!isOurs && before.length === 0) continue
    // Who wrote a status that no pool has an address of is never overruled: it stays, and is not announced.
    const kept = before.filter((address) => after.includes(address))
    const row = { service, before, after: before.length > 0 && kept.length < before.length ? kept : after }
    rows.push(row)
    if (isOurs) differences.push(...addressDifferences(row, desired))
    if (isOurs && servedWithout(from) && isSilent(desired)) differences.push(silent(service, before))
  }
  return { rows, differences }
}

function addressDifferences(
  { service, before, after }: ServiceRow,
  desired: DesiredService | undefined,
): readonly Finding[] {
  if (before.length === 0 || before.join() === after.join()) return []
  const lost = before.filter((address) => !after.includes(address))
  const where = {
    object: `Service/${service}`,
    field: 'status.loadBalancer.ingress',
    before: before.join(', '),
    after: after.join(', ') || 'not announced',
  }
  if (lost.length > 0)
    return [
      finding('OutsidePools', {
        ...where,
        reason: `${lost.join(', ')} is in no pool for this Service: it stays in the status and is not announced`,
        remedy: 'Add the address to a pool before anything moves.',
      }),
    ]
  const no = desired?.verdicts.find(({ step, ok }) => step === 'allocated' && !ok)
  return [
    finding('AddressDiffers', {
      ...where,
      reason: no?.message ?? 'the Service asks for more than it has, and gets it here',
      remedy: no?.remedy ?? 'Write ipFamilies and ipFamilyPolicy to say what it is to have.',
    }),
  ]
}

function isSilent(desired: DesiredService | undefined): boolean {
  if (desired === undefined || desired.addresses.length === 0) return false
  const isWithout = desired.verdicts.some(({ step, code }) => step === 'eligible' && without.has(code))
  return desired.externalTrafficPolicy === 'Cluster' && isWithout
}

/** No endpoint anywhere, whatever the node is. */
const without: ReadonlySet<VerdictCode> = new Set<VerdictCode>(['NoBackends', 'NoEndpointOfFamily', 'NoMatchingPort'])

function silent(service: string, before: readonly string[]): Finding {
  return finding('SilentWithoutEndpoints', {
    object: `Service/${service}`,
    field: '',
    before: before.join(', ') || 'announced',
    after: 'not announced',
    reason: 'a Service without a usable endpoint is not announced here, and was before under the policy Cluster',
    remedy: 'Nothing, unless something depends on the route alone.',
  })
}
