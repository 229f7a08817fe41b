/** The fields around what a kind has of its own: a slip in one of them takes away all that is below it. Pure. */
import { isRecord, type RawObject } from '../source.ts'
import { coreFields } from './core-fields.ts'
import { fault, lastGoodStays, type Fault, type Metadata } from './narrow.ts'
import { nearest } from './nearest.ts'

const ofEvery = ['apiVersion', 'kind', 'metadata']
const ofMost = [...ofEvery, 'spec', 'status']
const ofSome: Readonly<Record<string, readonly string[]>> = {
  Secret: [...ofEvery, 'data', 'stringData', 'type', 'immutable'],
  EndpointSlice: [...ofEvery, 'addressType', 'endpoints', 'ports'],
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
  const outer = slips(raw, ofSome[kind] ?? ofMost).map(([key, meant]) => said([key], meant, true))
  const inner = slips(metadata, ofMetadata).map(([key, meant]) =>
    said(['metadata', key], meant, isInForce(before?.metadata, meant)),
  )
  return [...outer, ...inner, ...(from === 'server' ? [] : [...misplaced(kind, raw), ...coreSlips(kind, raw)])]
}

/** Many that stand beside spec are one mistake, and so many of them are told. */
const mostMisplaced = 20
/** Of what `sops` leaves in a file, its values tell. */
const ofTools: ReadonlySet<string> = new Set(['sops'])

/** What stands beside spec, one step too far out: a range of clients, or that a pool is disabled, goes unheard. */
function misplaced(kind: string, raw: RawObject): readonly Fault[] {
  const known = ofSome[kind] ?? ofMost
  const unknown = unknownIn(raw, known).filter((key) => !ofTools.has(key))
  const slipped = new Set(slips(raw, known, unknown.slice(0, mostLookedAt)).map(([key]) => key))
  const ofSpec = coreFields[kind]?.['spec'] ?? none
  const left = unknown.filter((key) => !slipped.has(key)).slice(0, mostMisplaced)
  return left.map((key) => {
    if (!known.includes('spec')) return fault('warning', [key], 'UnknownField', noEffect, 'Remove it.')
    if (!ofSpec.includes(key))
      return fault('warning', [key], 'UnknownField', noEffect, 'Write it under spec, or remove it.')
    const message = 'it is a field of spec, and stands beside it'
    return fault('error', [key], 'InvalidField', message, `Write it under spec; ${lastGoodStays}.`)
  })
}

const noEffect = 'not a field of this kind, so it has no effect'

type Steps = readonly (string | number)[]

interface Place {
  readonly name: string
  readonly steps: readonly string[]
  readonly known: readonly string[]
}

/** Taken apart once: thousands of objects are looked at by them. */
const places: ReadonlyMap<string, readonly Place[]> = new Map(
  Object.entries(coreFields).map(([kind, ofKind]) => [
    kind,
    Object.entries(ofKind).map(([name, known]) => ({ name, steps: name.replaceAll('[]', '.[]').split('.'), known })),
  ]),
)

type Look = (written: unknown, at: Steps) => void

/** Each slip once, however many items have it: a client that was to be kept out may come in by it. */
function coreSlips(kind: string, raw: RawObject): readonly Fault[] {
  const found = new Map<string, Fault>()
  let left = mostLookedAt
  for (const { name, steps, known } of places.get(kind) ?? [])
    lookAt(raw, steps, [], (written, at) => {
      const unknown = unknownIn(written, known).slice(0, left)
      if (unknown.length === 0) return
      left -= unknown.length
      for (const [key, meant] of slips(written, known, unknown, core))
        if (!found.has(`${name} ${key}`)) found.set(`${name} ${key}`, said([...at, key], meant, true))
    })
  return found.size === 0 ? noFaults : [...found.values()]
}

/** Of those whose items have fields; a longer one is refused by its kind, or nobody reads it. */
const longest = 1_000

/** Has every value at a place looked at that holds a field; `at` is its path for as long as that takes. */
function lookAt(value: unknown, steps: readonly string[], at: (string | number)[], look: Look, depth = 0): void {
  const step = steps[depth]
  if (step === undefined) return look(value, at)
  if (Array.isArray(value) && value.length > longest) return
  if (step === '[]' && Array.isArray(value))
    for (let index = 0; index < value.length; index++) {
      at.push(index)
      lookAt(value[index], steps, at, look, depth + 1)
      at.pop()
    }
  else if (isRecord(value) && value[step] !== undefined) {
    at.push(step)
    lookAt(value[step], steps, at, look, depth + 1)
    at.pop()
  }
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
  if (!isRecord(written) || unknown.length === 0) return noSlips
  const free = known.filter((each) => !Object.hasOwn(written, each))
  return unknown.flatMap((key): readonly (readonly [string, string])[] => {
    const near = letters === undefined ? nearest(key, free) : nearest(letters(key), free, key.length < 6 ? 1 : 2)
    return near === undefined ? [] : [[key, near]]
  })
}

const noSlips: readonly (readonly [string, string])[] = []
const noFaults: readonly Fault[] = []

/** Nobody slips more often, in a thousand endpoints: each costs microseconds, and tens of thousands fit into a file. */
const mostLookedAt = 4_096

const none: readonly string[] = []

/** Nearly always none: nothing is made for that. */
function unknownIn(written: unknown, known: readonly string[]): readonly string[] {
  if (!isRecord(written)) return none
  let unknown: string[] | undefined
  for (const key of Object.keys(written)) if (!known.includes(key)) (unknown ??= []).push(key)
  return unknown ?? none
}

function isInForce(before: Metadata | undefined, field: string): boolean {
  const held: unknown = before === undefined ? undefined : Reflect.get(before, field)
  return typeof held === 'object' && held !== null && Object.keys(held).length > 0
}

function said(path: Steps, meant: string, isError: boolean): Fault {
  if (!isError) {
    return fault('warning', path, 'UnknownField', noEffect, `Did you mean ${meant}?`)
  }
  const message = `not a field of this kind, and ${meant} is not written`
  return fault('error', path, 'InvalidField', message, `Write ${meant}; ${lastGoodStays}.`)
}
