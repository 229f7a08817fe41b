/**
 * Routes on their way to the thread of the speaker. To copy an object for each of thousands of prefixes takes both
 * threads longer than whatever is done with them: a message has all prefixes as one text, all marks as one list, and
 * each list of routes once for the prefixes behind each other that are wanted alike. Pure.
 */
import type { PrefixRoutes, ToSpeaker } from './protocol.ts'

export interface PackedRoutes {
  readonly type: 'packed routes'
  /** One in a line, in the order in which they were said. */
  readonly prefixes: string
  /** By prefix; {@link noMark} where it has none. */
  readonly marks: Int32Array
  /** For so many prefixes each. */
  readonly runs: readonly { readonly count: number; readonly routes: PrefixRoutes['routes'] }[]
}

/** A message of the agent as its thread has it. */
export type Posted = ToSpeaker | PackedRoutes

const noMark = -1

/** `markOf` is asked once for each. */
export function packRoutes(
  all: readonly PrefixRoutes[],
  markOf: (entry: PrefixRoutes) => number | undefined = ({ mark }) => mark,
): PackedRoutes {
  const lines: string[] = []
  const marks = new Int32Array(all.length)
  const runs: { count: number; readonly routes: PrefixRoutes['routes'] }[] = []
  let run: (typeof runs)[number] | undefined
  for (const entry of all) {
    marks[lines.length] = markOf(entry) ?? noMark
    lines.push(entry.prefix)
    if (run === undefined || !isOneList(run.routes, entry.routes)) runs.push((run = { count: 0, routes: entry.routes }))
    run.count++
  }
  return { type: 'packed routes', prefixes: lines.join('\n'), marks, runs }
}

function isOneList(a: PrefixRoutes['routes'], b: PrefixRoutes['routes']): boolean {
  return a === b || a.length + b.length === 0
}

export function unpackRoutes({ prefixes, marks, runs }: PackedRoutes): Extract<ToSpeaker, { readonly type: 'routes' }> {
  const lines = prefixes.split('\n')
  const all: PrefixRoutes[] = []
  for (const { count, routes } of runs)
    for (const end = all.length + count; all.length < end; ) {
      const [prefix = '', mark = noMark] = [lines[all.length], marks[all.length]]
      all.push(mark === noMark ? { prefix, routes } : { prefix, routes, mark })
    }
  return { type: 'routes', prefixes: all }
}
