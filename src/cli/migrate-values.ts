/** `herald migrate FROM --values FILE`: the values of our chart that mean the same, and every difference. */
import { readFileSync } from 'node:fs'
import { HeraldError, messageOf } from '../errors.ts'
import type { MovingFrom } from '../k8s/dialects/moving/report.ts'
import { valueTables } from '../k8s/dialects/moving/value-tables.ts'
import { type MovedValues, movedValues } from '../k8s/dialects/moving/values.ts'
import { isRecord } from '../k8s/source.ts'
import { parse, stringify } from './yaml.ts'
import { asciiJson, isPrintable, printable } from './text.ts'

/** In which `y` and `off` are no texts, so that those that are have quotes. */
const asHelm = { version: '1.1' } as const

export interface MigratedValues extends MovedValues {
  readonly from: MovingFrom
}

/** Throws ERR_USAGE where the file is no map of values. */
export function migratedValues(from: MovingFrom, file: string): MigratedValues {
  let values: unknown
  try {
    values = parse(readFileSync(file, 'utf8'), asHelm) ?? {}
  } catch (error) {
    throw new HeraldError('ERR_USAGE', `--values ${file}: ${messageOf(error)}`, { cause: error })
  }
  if (!isRecord(values)) throw new HeraldError('ERR_USAGE', `--values ${file}: a map of values is wanted`)
  return { from, ...movedValues(values, valueTables[from]) }
}

/** As a file of values, with the differences as comments; or everything as JSON or YAML. */
export function valuesText(moved: MigratedValues, output: 'table' | 'json' | 'yaml'): string {
  if (output === 'json') return asciiJson(moved)
  const yaml = stringify(output === 'yaml' ? moved : moved.values, asHelm)
  // JSON is YAML too, and can escape everything.
  const values = isPrintable(yaml) ? yaml : asciiJson(output === 'yaml' ? moved : moved.values)
  if (output === 'yaml') return values
  const lines = moved.notes.map(({ needsDecision, key, becomes, reason }) => {
    const where = becomes === undefined || becomes === key ? key : `${key} -> ${becomes}`
    return `# ${needsDecision ? '!' : '.'} ${printable(`${where}: ${reason}`)}\n`
  })
  const count = moved.notes.filter(({ needsDecision }) => needsDecision).length
  const head =
    count === 0 ? 'nothing needs a decision' : `${count} need${count === 1 ? 's' : ''} a decision: marked with !`
  return `# Values of Herald's chart; ${head}\n${lines.join('')}${values}`
}
