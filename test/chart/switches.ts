/** Every switch of the chart, found in values.yaml, and few sets of them in which any two have every pair of values. */
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { chart } from './helm.ts'

interface Switch {
  /** As `--set` has it. */
  readonly path: string
  readonly usual: boolean
}

/** Each map of the values, as a path; the whole is the empty one. */
export const values: Readonly<Record<string, unknown>> = parse(readFileSync(`${chart}values.yaml`, 'utf8'))

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function switchesIn(map: Readonly<Record<string, unknown>>, at: readonly string[]): readonly Switch[] {
  return Object.entries(map).flatMap(([key, value]) => {
    const path = [...at, key]
    if (typeof value === 'boolean') return [{ path: path.join('.'), usual: value }]
    return isMap(value) ? switchesIn(value, path) : []
  })
}

/** Those of a security context are none of the chart. */
export const switches = switchesIn(values, []).filter(({ path }) => !path.includes('ecurityContext'))

/**
 * Rows of values in the order of {@link switches}: eight do for 35 switches (Kleitman and Spencer). A switch is on in
 * the rows of its own four of seven: two such sets meet, and neither holds the other; in the first row all are off.
 */
export function pairwise(): readonly (readonly boolean[])[] {
  const sets = foursOfSeven()
  if (switches.length > sets.length) throw new RangeError(`${switches.length} switches need more than eight rows`)
  return [-1, 0, 1, 2, 3, 4, 5, 6].map((row) => switches.map((_, index) => sets[index]?.includes(row) === true))
}

function foursOfSeven(): readonly (readonly number[])[] {
  const sets: number[][] = []
  for (let bits = 0; bits < 128; bits++) {
    const members = [0, 1, 2, 3, 4, 5, 6].filter((bit) => bits & (1 << bit))
    if (members.length === 4) sets.push(members)
  }
  return sets
}

/** Arguments of helm; the one pair that the chart refuses is left at its first half. */
export function argumentsOf(row: readonly boolean[]): readonly string[] {
  const isOn = new Map(switches.map(({ path }, index) => [path, row[index] === true]))
  if (isOn.get('prometheus.podMonitor.enabled') === true) isOn.set('prometheus.serviceMonitor.enabled', false)
  return [...isOn].flatMap(([path, on]) => ['--set', `${path}=${on}`])
}
