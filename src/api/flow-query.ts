/**
 * What an observer asks for, as the query of `GET /api/v1/flows`:
 * `follow=&last=&since=&until=&KEY=VALUE&not.KEY=VALUE`.
 * A KEY may be given again and again; `since` and `until` are ms since the epoch.
 */
import { HeraldError } from '../errors.ts'
import type { FlowFilterKey, FlowQuery } from './flow-types.ts'

const filterKeys: Readonly<Record<FlowFilterKey, true>> = {
  type: true,
  verdict: true,
  'drop-reason-desc': true,
  protocol: true,
  'tcp-flags': true,
  ip: true,
  'from-ip': true,
  'to-ip': true,
  port: true,
  'from-port': true,
  'to-port': true,
  service: true,
  pod: true,
  'from-pod': true,
  'to-pod': true,
  namespace: true,
  'ip-version': true,
}

const maxLast = 1_000_000

/** The query as the client writes it. */
export function formatFlowQuery({ follow, last, sinceMs, untilMs, allow, deny }: FlowQuery): string {
  const query = new URLSearchParams({ follow: String(follow) })
  if (last !== undefined) query.set('last', String(last))
  if (sinceMs !== undefined) query.set('since', String(sinceMs))
  if (untilMs !== undefined) query.set('until', String(untilMs))
  for (const [prefix, filter] of [['', allow] as const, ['not.', deny] as const])
    for (const [key, values] of Object.entries(filter)) for (const value of values) query.append(prefix + key, value)
  return query.toString()
}

/** Throws ERR_USAGE. */
export function parseFlowQuery(query: URLSearchParams): FlowQuery {
  const once = (name: string): string | undefined => {
    const values = query.getAll(name)
    if (values.length > 1) throw new HeraldError('ERR_USAGE', `${name}: given twice`)
    return values[0]
  }
  const number = (name: string, most: number): number | undefined => {
    const text = once(name)
    if (text === undefined) return undefined
    if (!/^\d{1,15}$/.test(text) || Number(text) > most)
      throw new HeraldError('ERR_USAGE', `${name}: a number up to ${most} is wanted`)
    return Number(text)
  }
  const follow = once('follow') ?? 'false'
  if (follow !== 'true' && follow !== 'false') throw new HeraldError('ERR_USAGE', 'follow is true or false')
  const [last, sinceMs, untilMs] = [
    number('last', maxLast),
    number('since', Number.MAX_SAFE_INTEGER),
    number('until', Number.MAX_SAFE_INTEGER),
  ]
  return {
    follow: follow === 'true',
    ...(last === undefined ? {} : { last }),
    ...(sinceMs === undefined ? {} : { sinceMs }),
    ...(untilMs === undefined ? {} : { untilMs }),
    ...filtersOf(query),
  }
}

function filtersOf(query: URLSearchParams): Pick<FlowQuery, 'allow' | 'deny'> {
  type Values = Partial<Record<FlowFilterKey, readonly string[]>>
  const [allow, deny]: readonly [Values, Values] = [{}, {}]
  for (const [name, value] of query) {
    if (['follow', 'last', 'since', 'until'].includes(name)) continue
    const [filter, key] = name.startsWith('not.') ? [deny, name.slice(4)] : [allow, name]
    if (!isFilterKey(key)) throw new HeraldError('ERR_USAGE', `${name}: no such parameter`)
    filter[key] = [...(filter[key] ?? []), value]
  }
  return { allow, deny }
}

const isFilterKey = (name: string): name is FlowFilterKey => Object.hasOwn(filterKeys, name)
