/** YAML text of an annotation. Whoever may write the object writes it, so its length and time are bounded. Pure. */
import { isScalar, LineCounter, parseDocument, visit, type Pair, YAMLParseError } from 'yaml'
import { isRecord, type RawObject } from '../source.ts'

/** As a thousand names of nodes need. */
const mostCharacters = 65_536
/** The library goes on after what is wrong: what a text costs is by what it is made of, and names are cheap. */
const signs = /[^\w\s./:-]|[:\n]|-(?=\s)/g
const mostSigns = 10_000

const options = {
  logLevel: 'error',
  merge: true,
  // The library compares each name with each: tens of thousands would take minutes.
  uniqueKeys: false,
  prettyErrors: false,
} as const

/**
 * The map, merge keys and all, or why there is none: where in the text, without the text itself. Names are what is
 * written: 00012 is no 12.
 */
export function readMap(written: string): RawObject | string {
  if (written.length > mostCharacters) return `it is longer than ${mostCharacters} characters`
  if ((written.match(signs)?.length ?? 0) > mostSigns) return `it has more than ${mostSigns} signs beside names`
  const lineCounter = new LineCounter()
  const placeOf = (at: number): string => {
    const { line, col } = lineCounter.linePos(at)
    return `at its line ${line}, column ${col}`
  }
  try {
    const document = parseDocument(written, { ...options, lineCounter })
    const [error] = document.errors
    if (error instanceof YAMLParseError) return `it cannot be read ${placeOf(error.pos[0])}`
    let twice: number | undefined
    visit(document, {
      Map: (_, { items }) => {
        const names = new Set<unknown>()
        for (const pair of items) {
          const name = asWritten(pair)
          if (names.has(name)) twice ??= startOf(pair)
          else if (name !== undefined) names.add(name)
        }
      },
    })
    if (twice !== undefined) return `it has a name twice ${placeOf(twice)}`
    const value: unknown = document.toJS()
    return isRecord(value) ? value : 'it is something else'
  } catch {
    return 'it cannot be read'
  }
}

/** The name of a pair, which is its text from here on; undefined: a merge key, or no plain one. */
function asWritten({ key }: Pair): string | undefined {
  if (!isScalar(key)) return undefined
  const { value, source } = key
  if (typeof value !== 'string' && typeof value !== 'symbol' && source !== undefined) key.value = source
  return typeof key.value === 'string' ? key.value : undefined
}

function startOf({ key }: Pair): number {
  return isScalar(key) ? (key.range?.[0] ?? 0) : 0
}
