/** The fields around what a kind has of its own: a slip in one of them takes away all that is below it. Pure. */
import { isRecord, type RawObject } from '../source.ts'
import { coreFields } from './core-fields.ts'
import { fault, type Fault, type Metadata } from './narrow.ts'
import { nearest } from './nearest.ts'

const ofEvery = ['apiVersion', 'kind', 'metadata']
const ofMost = ['spec', 'status']
const ofSome: Readonly<Record<string, readonly string[]>> = {
  Secret: ['data', 'stringData', 'type', 'immutable'],
  EndpointSlice: ['addressType', 'endpoints', 'ports'],
}
const ofMetadata = [
  ...['name', 'namespace', 'uid', 'labels', 'annotations', 'creationTimestamp', 'resourceVersion', 'generation'],
  ...['deletionTimestamp', 'deletionGracePeriodSeconds', 'finalizers', 'ownerReferences', 'managedFields'],
  ...['generateName', 'selfLink'],
]

/** An error costs the whole object. `before`: the version in force. An API server has no fields but real ones. */
export function outlineFaults(
  kind: string,
  raw: RawObject,
  before: { readonly metadata: Metadata } | undefined,
  from: 'manifest' | 'server' = 'manifest',
): readonly Fault[] {
  const metadata: unknown = raw.metadata
  const ofKind = [...ofEvery, ...(ofSome[kind] ?? ofMost)]
  const outer = slips(raw, ofKind).map(([key, meant]) => said([key], meant, true))
  const inner = slips(metadata, ofMetadata).map(([key, meant]) =>
    said(['metadata', key], meant, isInForce(before?.metadata, meant)),
  )
  return [...outer, ...inner, ...(from === 'server' ? [] : coreSlips(kind, raw))]
}

type Steps = readonly (string | number)[]

/** Each slip once, however many items have it: a client that was to be kept out may come in by it. */
function coreSlips(kind: string, raw: RawObject): readonly Fault[] {
  const found = new Map<string, Fault>()
  let left = mostLookedAt
  for (const [place, known] of Object.entries(coreFields[kind] ?? {}))
    for (const [written, at] of placesOf(raw, place.replaceAll('[]', '.[]').split('.'))) {
      const unknown = unknownIn(written, known).slice(0, left)
      left -= unknown.length
      for (const [key, meant] of slips(written, known, unknown, core))
        if (!found.has(`${place} ${key}`)) found.set(`${place} ${key}`, said([...at, key], meant, true))
    }
  return [...found.values()]
}

/** Every value at a place, with its path. */
function* placesOf(value: unknown, [step, ...rest]: readonly string[], at: Steps = []): Generator<[unknown, Steps]> {
  if (step === undefined) yield [value, at]
  else if (step === '[]' && Array.isArray(value))
    for (const [index, item] of value.entries()) yield* placesOf(item, rest, [...at, index])
  else if (isRecord(value)) yield* placesOf(value[step], rest, [...at, step])
}

/** Of those a new field may be near an old one: it has to be the same but for a letter or two. */
const core = (key: string): string => key.replace(/[_-]/g, '')

/** Fields that are none, with those that they may stand for and that are not written. */
function slips(
  written: unknown,
  known: readonly string[],
  unknown = unknownIn(written, known).slice(0, mostLookedAt),
  letters?: (key: string) => string,
): readonly (readonly [string, string])[] {
  if (!isRecord(written) || unknown.length === 0) return []
  const free = known.filter((each) => !Object.hasOwn(written, each))
  return unknown.flatMap((key): readonly (readonly [string, string])[] => {
    const near = letters === undefined ? nearest(key, free) : nearest(letters(key), free, key.length < 6 ? 1 : 2)
    return near === undefined ? [] : [[key, near]]
  })
}

/** Nobody slips more often, in a thousand endpoints: each costs microseconds, and tens of thousands fit into a file. */
const mostLookedAt = 4_096

function unknownIn(written: unknown, known: readonly string[]): readonly string[] {
  return isRecord(written) ? Object.keys(written).filter((key) => !known.includes(key)) : []
}

function isInForce(before: Metadata | undefined, field: string): boolean {
  const held: unknown = before === undefined ? undefined : Reflect.get(before, field)
  return typeof held === 'object' && held !== null && Object.keys(held).length > 0
}

function said(path: Steps, meant: string, isError: boolean): Fault {
  if (!isError) {
    const message = 'not a field of this kind, so it has no effect'
    return fault('warning', path, 'UnknownField', message, `Did you mean ${meant}?`)
  }
  const message = `not a field of this kind, and ${meant} is not written`
  return fault('error', path, 'InvalidField', message, `Write ${meant}; the last good version stays in force.`)
}
