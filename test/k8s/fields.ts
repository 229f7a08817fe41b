/**
 * Tables of fields: what each field of a kind takes, what it refuses, and what stands for nothing. Every table is asked
 * the same questions, so that a field that is new, forgotten or judged by half is found.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import { crdOf } from '../../scripts/crds.ts'
import { labelSelectorSchema } from '../../src/k8s/kinds/label-syntax.ts'
import { formatPath, type Fault } from '../../src/k8s/kinds/narrow.ts'
import { type KindTable, parseObject, type ServedKind } from '../../src/k8s/kinds/table.ts'
import type { RawObject } from '../../src/k8s/source.ts'
import { faultsBySchema } from './structural.ts'

export interface Field {
  /** `spec.virtualRouters[0].localASN`: it stands there in the example. */
  readonly at: string
  /** Understood, and no two of them are the same; none: a list whose elements have rows of their own. */
  readonly good: readonly unknown[]
  /** An error at the field, or below it. */
  readonly bad: readonly unknown[]
  /** null and absent: the default, or an error. */
  readonly absent: 'default' | 'error'
  /** "" is as absent, a value like others, or (where nothing is said) wrong. */
  readonly empty?: 'absent' | 'good'
  /** What it says changes nothing: not served, or of others. */
  readonly isInert?: true
  /** Fields that exclude it, and are taken out beside it. */
  readonly without?: readonly string[]
  /** Where the error of a bad value stands instead. */
  readonly blames?: string
  /** Where the error stands when it is absent: another field could have been written. */
  readonly lacks?: string
}

export interface FieldTable<K extends ServedKind> {
  readonly kind: K
  /** Of several that are judged alike. */
  readonly version?: string
  /** Every field that has no other one beside it that excludes it. */
  readonly example: RawObject
  readonly fields: readonly Field[]
  /** What is written in `spec`, or at `root`. */
  readonly schema: z.ZodType
  readonly root?: string
  /** Fields of the API that nobody reads here are passed over without a word. */
  readonly isOpen?: true
  /** Kubernetes brings the kind, so that there is no CRD. */
  readonly isBuiltIn?: true
}

type Holder = Record<string | number, unknown>

export function pathOf(text: string): readonly (string | number)[] {
  return [...text.matchAll(/\[(\d+)\]|([^.[\]]+)/g)].map(([, index, name]) =>
    index === undefined ? (name ?? '') : Number(index),
  )
}

/** A copy with one place changed; `undefined` takes the field out. */
export function withValue(object: RawObject, at: string, value: unknown): RawObject {
  const copy = structuredClone(object)
  const path = pathOf(at)
  let holder = copy as unknown as Holder
  for (const step of path.slice(0, -1)) holder = (holder[step] ??= {}) as Holder
  const last = path.at(-1) ?? ''
  if (value === undefined) Reflect.deleteProperty(holder, last)
  else holder[last] = value
  return copy
}

function valueAt(object: RawObject, at: string): unknown {
  return pathOf(at).reduce<unknown>((holder, step) => Reflect.get(Object(holder), step), object)
}

/** Two letters in the middle of a name change places. */
export function misspelt(at: string): string {
  const [, before = '', name = ''] = /^(.*\.)?([^.]+)$/.exec(at) ?? []
  for (let i = 1; i + 1 < name.length; i++)
    if (name[i] !== name[i + 1]) return `${before}${name.slice(0, i)}${name[i + 1]}${name[i]}${name.slice(i + 2)}`
  return `${at}${name.slice(-1)}`
}

/** The places where a schema takes a value that is no map and no list of maps, without indexes. */
export function* leavesOf(schema: unknown, at: string): Generator<string> {
  if (schema === labelSelectorSchema) return yield at
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable) return yield* leavesOf(schema.unwrap(), at)
  if (schema instanceof z.ZodPipe)
    return yield* leavesOf(schema.in instanceof z.ZodTransform ? schema.out : schema.in, at)
  if (schema instanceof z.ZodArray) {
    const below = [...leavesOf(schema.element, `${at}[]`)]
    return yield* below.join() === `${at}[]` ? [at] : below
  }
  if (!(schema instanceof z.ZodObject)) return yield at
  for (const [name, field] of Object.entries(schema.shape)) yield* leavesOf(field, `${at}.${name}`)
}

const errorsOf = (faults: readonly Fault[]): readonly Fault[] => faults.filter(({ severity }) => severity === 'error')
const isAt = (field: string, at: string): boolean =>
  field === at || field.startsWith(`${at}.`) || field.startsWith(`${at}[`)
/** What is in force, in which null is as nothing. */
const meaning = (value: object | undefined): string =>
  JSON.stringify({ ...value, written: undefined }, (_, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : (each ?? undefined),
  )
const shown = (value: unknown): string => JSON.stringify(value) ?? 'absent'

function assertSays(faults: readonly Fault[], at: string, what: string): void {
  const found = errorsOf(faults)
  assert.ok(found.length > 0, `${what}: no error`)
  for (const { path, message, remedy } of found) {
    assert.ok(isAt(formatPath(path), at), `${what}: the error is at ${formatPath(path)}`)
    assert.match(remedy, /^[A-Z].{4,}\.$/s, what)
    assert.doesNotMatch(`${message} ${remedy}`, /undefined|\[object|NaN|Invalid (input|option)/, what)
  }
}

/** The places of lists in a value. */
function* listsIn(value: unknown, at: string): Generator<string> {
  if (typeof value !== 'object' || value === null) return
  if (Array.isArray(value)) yield at
  for (const [step, below] of Object.entries(value))
    yield* listsIn(below, Array.isArray(value) ? `${at}[${step}]` : at === '' ? step : `${at}.${step}`)
}

/** A list that counts how often one of its entries is looked at. */
function counted(entry: unknown, count: () => void): readonly unknown[] {
  return new Proxy(
    Array.from({ length: 300_000 }, () => entry),
    {
      get: (list, step, self) => {
        if (typeof step === 'string' && /^\d+$/.test(step)) count()
        return Reflect.get(list, step, self)
      },
    },
  )
}

/** Asks every question of every field of a kind. */
export function testFields<K extends ServedKind>(table: FieldTable<K>): void {
  const { kind, example, fields, version } = table
  const name = version === undefined ? kind : `${kind} of ${version}`
  const parse = (raw: RawObject, before?: KindTable[K]) => parseObject(kind, raw, before)
  const written = ({ at, without = [] }: Field, value: unknown): RawObject =>
    withValue(
      without.reduce((raw, other) => withValue(raw, other, undefined), example),
      at,
      value,
    )
  const right = (field: Field): RawObject => (field.good.length === 0 ? example : written(field, field.good.at(-1)))
  const inForce = (raw: RawObject, what: string): KindTable[K] => {
    const { value, faults } = parse(raw)
    assert.deepEqual(errorsOf(faults), [], what)
    assert.ok(value !== undefined, what)
    return value
  }

  test(`${name}: every field of the schema is in the table, and the example is good`, () => {
    inForce(example, 'example')
    const root = table.root ?? 'spec'
    const known = [...leavesOf(table.schema, root)].map((leaf) => (root === '' ? leaf.slice(1) : leaf))
    const listed = fields.map(({ at }) => at.replace(/\[\d+\]/g, '[]'))
    const isListed = (leaf: string): boolean => listed.some((each) => leaf === each || isAt(leaf, each))
    assert.deepEqual(
      known.filter((leaf) => !isListed(leaf)),
      [],
    )
  })

  test(`${name}: what a field takes is understood, each value otherwise, and the CRD takes it too`, () => {
    for (const field of fields) {
      const seen = new Map<string, unknown>()
      for (const value of field.good) {
        const what = `${field.at} = ${shown(value)}`
        const raw = written(field, value)
        const is = inForce(raw, what)
        const text = meaning(is)
        if (field.isInert !== true)
          assert.ok(!seen.has(text), `${what} means what ${shown(seen.get(text))} does: the field has no effect`)
        seen.set(text, value)
        if (table.isBuiltIn !== true) assert.deepEqual(faultsBySchema(crdOf(kind as 'BGPPeer'), raw), [], what)
      }
    }
  })

  test(`${name}: a wrong value is an error at its field with a remedy, and what was in force stays`, () => {
    for (const field of fields)
      for (const value of field.bad) {
        const what = `${field.at} = ${shown(value)}`
        const before = inForce(field.good.length === 0 ? example : written(field, field.good[0]), what)
        const { value: now, faults } = parse(written(field, value), before)
        assertSays(faults, field.blames ?? field.at, what)
        if (now !== undefined) assert.deepEqual(now, before, `${what} changes what is in force`)
        // From the start there is nothing that could stay: the part, or the object, is left out.
        const first = errorsOf(parse(written(field, value)).faults)
        assert.ok(
          first.some(({ path }) => isAt(formatPath(path), field.blames ?? field.at)),
          `${what}, from the start`,
        )
      }
  })

  test(`${name}: of a list of 300 000 entries few are looked at, whatever they are, and what was in force stays`, () => {
    const before = inForce(example, 'example')
    const written = fields.filter(({ good }) => good.some(Array.isArray)).map(({ at }) => at)
    for (const at of new Set([...listsIn(example, ''), ...written]))
      for (const entry of [{}, 'a', 0, null, valueAt(example, `${at}[0]`)])
        for (const version of [undefined, before]) {
          let looks = 0
          const list = counted(entry, () => looks++)
          const { value, faults } = parse(withValue(example, at, list), version)
          const what = `${at}: ${shown(entry)}`
          assert.ok(looks <= 1_000, `${what}: ${looks} looks`)
          assert.ok(faults.length <= 22, what)
          if (value !== undefined) continue
          assert.deepEqual([faults[0]?.code, formatPath(faults[0]?.path ?? [])], ['LimitExceeded', at], what)
        }
  })

  test(`${name}: null is as absent, and so is "" where the API server takes it so`, () => {
    for (const field of fields) {
      const absent = parse(written(field, undefined))
      const { at, empty, good } = field
      const lacks = field.lacks ?? field.blames ?? at
      for (const value of [null, ...(empty === 'absent' ? [''] : [])]) {
        const what = `${at} = ${shown(value)}`
        const { value: is, faults } = parse(written(field, value))
        if (field.absent === 'error') assertSays(faults, lacks, what)
        else {
          assert.deepEqual(errorsOf(faults), [], what)
          assert.equal(meaning(is), meaning(absent.value), what)
        }
      }
      if (field.absent === 'error') assertSays(absent.faults, lacks, `${at} is absent`)
      else assert.deepEqual(errorsOf(absent.faults), [], `${at} is absent`)
      if (empty === undefined && good.some((each) => typeof each === 'string'))
        assertSays(parse(written(field, '')).faults, field.blames ?? at, `${at} = ""`)
    }
  })

  test(`${name}: a misspelt field is told where it stands, and takes nothing away that was in force`, () => {
    if (table.isOpen === true) return
    for (const field of fields) {
      const { at, isInert } = field
      const before = inForce(right(field), at)
      const slip = withValue(withValue(right(field), at, undefined), misspelt(at), valueAt(right(field), at))
      const { value: now, faults } = parse(slip, before)
      const told = faults.find(({ path }) => formatPath(path) === misspelt(at))
      const meant = String(pathOf(at).at(-1))
      assert.ok(told !== undefined, `${misspelt(at)} is passed over: ${JSON.stringify(faults)}`)
      assert.ok(told.remedy.includes(meant), `${misspelt(at)}: ${told.remedy}`)
      if (isInert === true || now === undefined) continue
      assert.equal(meaning(now), meaning(before), `${misspelt(at)} takes away what ${at} said`)
    }
  })
}
