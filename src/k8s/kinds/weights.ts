/**
 * How much of what is new each pod of a Service gets, as the annotation `herald.dev/weights` says by the node or the
 * zone that it is in: names of pods and their addresses do not outlive a rollout. Each entry is judged by itself and
 * has its last good version. Pure.
 */
import { isRecord } from '../source.ts'
import { type Entry, narrowParts } from './parts.ts'
import { fault, lastGoodStays, type Fault, type Part } from './narrow.ts'
import { nearest } from './nearest.ts'
import { readMap } from './yaml-map.ts'

export const weightsAnnotation = 'herald.dev/weights'

/** By name, whole numbers from 0 to {@link mostWeight}. */
export interface Weights {
  readonly nodes: Readonly<Record<string, number>>
  readonly zones: Readonly<Record<string, number>>
}

const mostWeight = 100

const sliceWeightAnnotation = 'service.cilium.io/weight'
const mostOfSlice = 65_535

/** As many as a large cluster has nodes. */
const mostEntries = 1_000
const fields = ['nodes', 'zones'] as const
const at = ['metadata', 'annotations', weightsAnnotation] as const
const example = `${weightsAnnotation}: '{nodes: {big-1: 4}, zones: {b: 0}}'`
/** Of names of nodes and values of labels. */
const nameSyntax = /^[A-Za-z0-9]([\w.-]{0,251}[A-Za-z0-9])?$/

/** Of a pod; what is said of its node counts before what is said of its zone, and that before what its slice says. */
export function weightOf(weights: Weights | undefined, node: string, zone: string, ofSlice = 1): number {
  if (weights === undefined) return ofSlice
  return ownOf(weights.nodes, node) ?? ownOf(weights.zones, zone) ?? ofSlice
}

function ownOf(of: Readonly<Record<string, number>>, name: string): number | undefined {
  return Object.hasOwn(of, name) ? of[name] : undefined
}

interface ReadWeights {
  /** undefined: nothing is written, and every pod has the same. */
  readonly weights: Weights | undefined
  readonly faults: readonly Fault[]
}

export function weightsIn(annotations: Readonly<Record<string, string>>, before: Weights | undefined): ReadWeights {
  const written = annotations[weightsAnnotation] ?? ''
  if (written.trim() === '') return { weights: undefined, faults: [] }
  const stays = before === undefined ? 'until then every pod has the same' : lastGoodStays
  const wrong = (message: string, remedy: string): ReadWeights => ({
    weights: before,
    faults: [fault('error', at, 'InvalidAnnotation', message, `${remedy}; ${stays}.`)],
  })
  const read = readMap(written)
  if (typeof read === 'string') return wrong(`no YAML map: ${read}`, `Write ${example}`)
  const faults = Object.keys(read).flatMap((name) => unknownField(name))
  const entries = fields.flatMap((field): readonly Written[] => {
    const named = read[field] ?? {}
    if (isRecord(named)) return Object.entries(named).map(([name, value]) => ({ field, name, value }))
    return [{ field, name: undefined, value: named }]
  })
  // Of a misspelt field nobody knows whose weights it has.
  if (faults.length > 0 && before !== undefined) return { weights: before, faults }
  if (entries.length > mostEntries)
    return wrong(`${entries.length} names: at most ${mostEntries} have a weight`, 'Name zones in place of nodes')
  const { parts, faults: ofEntries } = narrowParts<Named, Written>(
    entries.map(
      (entry): Entry<Written> => [[...at, entry.field, ...(entry.name === undefined ? [] : [entry.name])], entry],
    ),
    {
      what: 'this weight',
      before: new Map(namedIn(before).map((each) => [keyOf(each), each])),
      keyOf: (entry) => (entry.name === undefined ? undefined : keyOf(entry)),
      parse: parseEntry,
    },
  )
  const of = (field: Named['field']): Readonly<Record<string, number>> =>
    Object.fromEntries(parts.flatMap(({ value }) => (value.field === field ? [[value.name, value.value]] : [])))
  return { weights: { nodes: of('nodes'), zones: of('zones') }, faults: [...faults, ...ofEntries] }
}

/** Of all pods of an EndpointSlice, as Cilium has it; undefined: nothing is written. */
export function sliceWeightIn(annotations: Readonly<Record<string, string>>): {
  readonly weight: number | undefined
  readonly faults: readonly Fault[]
} {
  const written = annotations[sliceWeightAnnotation]?.trim() ?? ''
  if (written === '') return { weight: undefined, faults: [] }
  if (/^\d{1,5}$/.test(written) && Number(written) <= mostOfSlice) return { weight: Number(written), faults: [] }
  const path = ['metadata', 'annotations', sliceWeightAnnotation]
  const message = `${JSON.stringify(written.slice(0, 40).toWellFormed())} is no whole number from 0 to ${mostOfSlice}`
  const remedy = 'Write "4", or "0" for no new flows; until then it has no effect.'
  return { weight: undefined, faults: [fault('warning', path, 'InvalidAnnotation', message, remedy)] }
}

interface Named {
  readonly field: (typeof fields)[number]
  readonly name: string
  readonly value: number
}

interface Written {
  readonly field: Named['field']
  /** undefined: the field is no map of names. */
  readonly name: string | undefined
  readonly value: unknown
}

const keyOf = ({ field, name }: Pick<Written, 'field' | 'name'>): string => `${field} ${name}`

function namedIn(weights: Weights | undefined): readonly Named[] {
  if (weights === undefined) return []
  return fields.flatMap((field) => Object.entries(weights[field]).map(([name, value]) => ({ field, name, value })))
}

function parseEntry({ field, name, value }: Written, { at: path, meanwhile }: Part) {
  if (name === undefined) {
    const message = 'it is no map of names and weights'
    const remedy = `Write ${field}: {${field === 'nodes' ? 'big-1' : 'b'}: 4}; ${meanwhile}.`
    return { faults: [fault('error', path, 'InvalidAnnotation', message, remedy)] }
  }
  const what = field === 'nodes' ? 'node' : 'zone'
  if (!nameSyntax.test(name)) {
    const message = `no ${what} can have this name`
    const remedy = `Write the name of a ${what} as kubectl get nodes -L topology.kubernetes.io/zone shows it.`
    return { faults: [fault('error', path, 'InvalidAnnotation', message, remedy)] }
  }
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= mostWeight)
    return { value: { field, name, value }, faults: [] }
  const shown = typeof value === 'object' ? 'it' : JSON.stringify(value).slice(0, 40)
  const message = `${shown} is no whole number from 0 to ${mostWeight}`
  const remedy = `Write ${name}: 4, or 0 for no new flows; ${meanwhile}.`
  return { faults: [fault('error', path, 'InvalidAnnotation', message, remedy)] }
}

function unknownField(name: string): readonly Fault[] {
  if (fields.some((field) => field === name)) return []
  const near = nearest(name, fields)
  const remedy = near === undefined ? `Write ${example}.` : `Did you mean ${near}?`
  return [fault('error', [...at, name], 'InvalidAnnotation', 'neither nodes nor zones: it has no effect', remedy)]
}

/** For people, in the order in which they are written; undefined: nothing is. */
export function weightsText({ nodes, zones }: Weights): readonly string[] {
  return [
    ...Object.entries(nodes).map(([name, weight]) => `${weight} on ${name}`),
    ...Object.entries(zones).map(([name, weight]) => `${weight} in zone ${name}`),
  ]
}
