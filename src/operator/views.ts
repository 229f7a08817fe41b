/** What probes and scrapes of an operator are answered. */
import type { ProbeViews } from '../api/probes.ts'
import type { OperatorMetrics } from '../observe/operator-metrics.ts'
import type { Election } from './election.ts'
import type { Operator } from './operator.ts'

export interface OperatorViewParts {
  readonly version: string
  readonly election: Election
  readonly operator: Operator
  readonly lostLogLines: () => number
  /** Metrics also under names that are off by default. */
  readonly hasMetricAliases: boolean
}

export function createOperatorViews(parts: OperatorViewParts): ProbeViews {
  let exposition: Promise<(metrics: OperatorMetrics) => Promise<string>> | undefined
  return {
    ready: () => readiness(parts),
    metrics: async () => {
      // The library is loaded by the first scrape.
      exposition ??= import('../observe/operator-metrics.ts').then(({ createOperatorMetrics }) =>
        createOperatorMetrics(parts.hasMetricAliases),
      )
      return (await exposition)(operatorMetrics(parts))
    },
  }
}

/** Who waits to lead is ready as well. A leader that cannot read what it needs is not. */
function readiness({ election, operator }: OperatorViewParts): ReturnType<ProbeViews['ready']> {
  if (!election.isLeader) {
    const { holder } = election
    return { ok: true, text: holder === '' ? 'waits for the Lease' : `${holder} leads` }
  }
  const { isSynced, unreadable } = operator.figures
  if (unreadable.size > 0) return { ok: false, text: `leads, and cannot read: ${[...unreadable.values()].join('; ')}` }
  return { ok: true, text: isSynced ? 'leads' : 'leads, and reads everything once' }
}

function operatorMetrics({ version, election, operator, lostLogLines }: OperatorViewParts): OperatorMetrics {
  const { unreadable, pools, ...figures } = operator.figures
  return {
    ...figures,
    version,
    isLeader: election.isLeader,
    unreadableKinds: [...unreadable.keys()],
    pools: pools.flatMap(({ pool: { name }, counts }) =>
      (['ipv4', 'ipv6'] as const).map((family) => ({
        pool: name,
        family,
        total: Number(counts[family].total),
        used: Number(counts[family].used),
      })),
    ),
    lostLogLines: lostLogLines(),
  }
}
