/**
 * Rules that give one route different local preferences: the highest one holds, and each of the rules is told so
 * (RFC 4271 5.1.5: LOCAL_PREF goes to neighbors of our AS only). Pure.
 */
import type { Pool } from '../../allocation/pool-table.ts'
import { formatSelector, selectorMatches } from '../../desired/label-selector.ts'
import type { Problem } from '../../desired/model.ts'
import type { Advertisement, AttributeRule, NodePlan } from '../dialects/node-plan.ts'
import { fault } from '../kinds/narrow.ts'
import { problemOf } from '../kinds/problems.ts'
import { isAdmitted } from './exports.ts'

export function preferenceConflicts({ neighbors }: NodePlan, pools: readonly Pool[]): readonly Problem[] {
  const found = new Map<AttributeRule, string>()
  // Thousands of neighbors may hear the same.
  const seen = new Set<string>()
  const numbers = new Map<Advertisement, number>()
  for (const { localAsn, peerAsn, peerAddress, advertisements } of neighbors) {
    if (localAsn !== peerAsn) continue
    for (const one of advertisements) if (!numbers.has(one)) numbers.set(one, numbers.size)
    const id = advertisements.map((one) => numbers.get(one)).join()
    if (seen.has(id)) continue
    seen.add(id)
    for (const rules of meetings(advertisements, pools))
      for (const rule of rules) found.set(rule, textOf(rules, peerAddress))
  }
  const problems = [...found].map(([{ from, path, preferenceField = 'localPreference' }, message]) => {
    const remedy = 'Let their selectors exclude each other, or write one local preference.'
    return problemOf(
      fault('warning', [...path, preferenceField], 'PreferenceConflict', message, remedy),
      from.key,
      from.origin,
    )
  })
  // Both families say the same.
  return [...new Map(problems.map((problem) => [JSON.stringify(problem), problem])).values()]
}

/** The sets of rules that hold together for a route of a pool, or of the PodCIDRs, and do not agree. */
function meetings(advertisements: readonly Advertisement[], pools: readonly Pool[]): readonly AttributeRule[][] {
  const routes = Map.groupBy(advertisements, ({ family, type, aggregationLength = '' }) =>
    [family, type, aggregationLength].join(' '),
  )
  return [...routes.values()].flatMap((all) =>
    (all[0]?.type === 'PodCIDR' ? [undefined] : pools).flatMap((pool) => {
      const heard = all.filter(({ pools: filter }) => filter === undefined || isAdmitted(filter, pool))
      return meetingOf(heard, pool)
    }),
  )
}

/** Of those that hold for one pool, those that meet another one with another preference. */
function meetingOf(heard: readonly Advertisement[], pool: Pool | undefined): readonly AttributeRule[][] {
  const holding = heard.flatMap(({ attributes, selector = {} }) =>
    attributes.flatMap((rule) => {
      const isHeld = rule.poolSelector === undefined || selectorMatches(rule.poolSelector, pool?.labels ?? {})
      return isHeld && rule.attributes.localPreference !== undefined ? [{ rule, of: formatSelector(selector) }] : []
    }),
  )
  if (new Set(holding.map(({ rule }) => rule.attributes.localPreference)).size < 2) return []
  const meeting = holding.filter((one) =>
    holding.some(
      (other) =>
        other.rule.attributes.localPreference !== one.rule.attributes.localPreference &&
        (other.of === one.of || [one.of, other.of].includes(everything)),
    ),
  )
  return meeting.length === 0 ? [] : [meeting.map(({ rule }) => rule)]
}

const everything = formatSelector({})

function textOf(rules: readonly AttributeRule[], peerAddress: string): string {
  const values = rules.map((rule) => rule.attributes.localPreference ?? 0)
  return `${values.join(' and ')} meet for neighbor ${peerAddress}: ${Math.max(...values)} holds`
}
