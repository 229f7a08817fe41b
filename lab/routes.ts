/** What checks say and wait for: next hops on every router, and who answered. */
import type { Answers, Rack, RouteTable } from './rack.ts'
import { until } from './until.ts'

export function isSame(table: RouteTable, prefix: string, nodes: readonly string[]): boolean {
  return (table.get(prefix) ?? []).join(' ') === nodes.join(' ')
}

/** The prefix of one address. */
export const hostPrefix = (address: string): string => `${address}/${address.includes(':') ? 128 : 32}`

export const hops = (nodes: readonly string[]): string => (nodes.length === 0 ? 'no route' : `via ${nodes.join(' ')}`)

/** Waits until every router has exactly these next hops for a prefix; none means no route. */
export async function routersHave(rack: Rack, prefix: string, nodes: readonly string[]): Promise<void> {
  for (const router of rack.routers) {
    await until(
      `${router}: ${prefix} ${hops(nodes)}`,
      () => rack.routes(router),
      (table) => isSame(table, prefix, nodes),
      { signal: rack.lab.signal },
    )
  }
}

export function spreadText(answers: Answers): string {
  const by = Object.entries(answers.answered)
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([who, count]) => `${who} ${count}`)
  const errors =
    answers.errors.length === 0 ? '' : `, ${answers.errors.length} failed (${[...new Set(answers.errors)].join(', ')})`
  return `${answers.count - answers.errors.length} of ${answers.count} answered: ${by.join(', ')}${errors}`
}
