/**
 * Rules that give one route different local preferences: the highest one holds, and each of the rules is told so
 * (RFC 4271 5.1.5: LOCAL_PREF goes to neighbors of our AS only). Pure.
 */
import { type Labels, selectorMatches } from '../../desired/label-selector.ts'
import type { Problem } from '../../desired/model.ts'
import type { Advertisement, AttributeRule, NodePlan } from '../dialects/node-plan.ts'
import { fault } from '../kinds/narrow.ts'
import { problemOf } from '../kinds/problems.ts'

/** `pools`: the labels of each pool. */
export function preferenceConflicts({ neighbors }: NodePlan, pools: readonly Labels[]): readonly Problem[] {
  const found = new Map<AttributeRule, string>()
  for (const { localAsn, peerAsn, peerAddress, advertisements } of neighbors)
    if (localAsn === peerAsn)
      for (const one of advertisements)
        for (const rules of meetings(one, pools)) for (const rule of rules) found.set(rule, textOf(rules, peerAddress))
  const problems = [...found].map(([{ from, path }, message]) => {
    const remedy = 'Let their selectors exclude each other, or write one local preference.'
    return problemOf(
      fault('warning', [...path, 'localPreference'], 'PreferenceConflict', message, remedy),
      from.key,
      from.origin,
    )
  })
  // Both families say the same.
  return [...new Map(problems.map((problem) => [JSON.stringify(problem), problem])).values()]
}

/** The sets of rules that hold together for a pool, or for the PodCIDRs, and do not agree. */
function meetings(
  { type, attributes }: Advertisement,
  pools: readonly Labels[],
): readonly (readonly AttributeRule[])[] {
  const places = type === 'PodCIDR' ? [{}] : pools
  return places
    .map((labels) =>
      attributes.filter(
        (rule) =>
          rule.attributes.localPreference !== undefined &&
          (rule.poolSelector === undefined || selectorMatches(rule.poolSelector, labels)),
      ),
    )
    .filter((rules) => new Set(rules.map((rule) => rule.attributes.localPreference)).size > 1)
}

function textOf(rules: readonly AttributeRule[], peerAddress: string): string {
  const values = rules.map((rule) => rule.attributes.localPreference ?? 0)
  return `${values.join(' and ')} meet for neighbor ${peerAddress}: ${Math.max(...values)} holds`
}
