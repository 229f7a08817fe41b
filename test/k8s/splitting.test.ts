/**
 * The same objects, however they are written down: in one file or many, in any order, as YAML or JSON, in Lists, with
 * the line ends and marks of any editor, mean the same.
 */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { stringify } from 'yaml'
import type { Problem } from '../../src/desired/model.ts'
import { readDocuments, type ManifestObject } from '../../src/k8s/documents.ts'
import type { RawObject } from '../../src/k8s/source.ts'
import { following } from './directory-world.ts'
import { everyObject, InForce } from './every-family.ts'
import { write } from './manifests.ts'

/** Where something stands is not what it means. */
const withoutPlace = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (key, each: unknown) => (key === 'file' || key === 'line' ? undefined : each)))
const saidOf = (problems: readonly Problem[]): readonly string[] =>
  problems.map(({ code, object, field }) => `${object.kind} ${object.name} ${field} ${code}`).sort()
const raws: readonly RawObject[] = everyObject.map(({ object }) => object)
const expected = new InForce(everyObject)

interface Writing {
  readonly ext: 'yaml' | 'yml' | 'json'
  readonly isList: boolean
  readonly isFlow: boolean
  readonly indent: number
  readonly width: number
  readonly quotes: 'QUOTE_DOUBLE' | 'QUOTE_SINGLE' | 'PLAIN'
  readonly lineEnd: '\n' | '\r\n'
  readonly begins: '' | '\ufeff' | '# a comment\n' | '---\n' | '\n\n'
  readonly ends: '' | '...\n' | '---\n' | '# the end' | '\n\n'
}

const writing: fc.Arbitrary<Writing> = fc.record({
  ext: fc.constantFrom('yaml', 'yml', 'json'),
  isList: fc.boolean(),
  isFlow: fc.boolean(),
  indent: fc.integer({ min: 1, max: 8 }),
  width: fc.constantFrom(0, 200),
  quotes: fc.constantFrom('QUOTE_DOUBLE', 'QUOTE_SINGLE', 'PLAIN'),
  lineEnd: fc.constantFrom('\n', '\r\n'),
  begins: fc.constantFrom('', '\ufeff', '# a comment\n', '---\n', '\n\n'),
  ends: fc.constantFrom('', '...\n', '---\n', '# the end', '\n\n'),
})

const listOf = (objects: readonly RawObject[]): object => ({ apiVersion: 'v1', kind: 'List', items: objects })

function written(objects: readonly RawObject[], how: Writing): string {
  const { ext, isList, isFlow, indent, width, quotes, lineEnd, begins, ends } = how
  if (ext === 'json') {
    const [first] = objects
    return JSON.stringify(objects.length === 1 && !isList ? first : listOf(objects), null, indent).replaceAll(
      '\n',
      lineEnd,
    )
  }
  const options = {
    indent,
    lineWidth: width,
    defaultStringType: quotes,
    defaultKeyType: 'PLAIN',
    collectionStyle: isFlow ? 'flow' : 'block',
    // The same object twice would be an anchor and its alias.
    aliasDuplicateObjects: false,
    version: '1.1',
  } as const
  const documents = isList ? [listOf(objects)] : objects
  const text = documents.map((each) => stringify(each, options)).join('---\n')
  return `${begins}${text}${ends}`.replaceAll('\n', lineEnd)
}

interface Layout {
  readonly order: readonly RawObject[]
  /** Which file each of them is in. */
  readonly files: readonly number[]
  readonly writings: readonly Writing[]
}

const layout: fc.Arbitrary<Layout> = fc.record({
  order: fc.shuffledSubarray([...raws], { minLength: raws.length }),
  files: fc.array(fc.nat(4), { minLength: raws.length, maxLength: raws.length }),
  writings: fc.array(writing, { minLength: 5, maxLength: 5 }),
})

function filesOf({ order, files, writings }: Layout): ReadonlyMap<string, string> {
  return new Map(
    writings.flatMap((how, index): readonly (readonly [string, string])[] => {
      const own = order.filter((_, at) => files[at] === index)
      return own.length === 0 ? [] : [[`${index}.${how.ext}`, written(own, how)]]
    }),
  )
}

test('objects are what they are in whatever files, documents and lists, in whatever style', () => {
  fc.assert(
    fc.property(layout, (each) => {
      const files = filesOf(each)
      const found = [...files].flatMap(([name, text]) => readDocuments(name, text.replace(/^\ufeff/, '')))
      assert.deepEqual(
        found.flatMap(({ problems }) => problems),
        [],
      )
      const objects = found.flatMap((document): readonly ManifestObject[] => document.objects)
      const byName = (a: RawObject, b: RawObject): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)
      assert.deepEqual(objects.map(({ object }) => object).sort(byName), [...raws].sort(byName))
      const world = new InForce(objects)
      assert.deepEqual(withoutPlace(world.state), withoutPlace(expected.state))
      assert.deepEqual(saidOf(world.problems), saidOf(expected.problems))
    }),
    { numRuns: 60 },
  )
})

test('a folder that is written anew in another layout, step by step, removes nothing and moves no session', async () => {
  const samples = fc.sample(layout, { numRuns: 6, seed: 7 })
  const [before, ...others] = samples.map(filesOf)
  const place = (folder: string, name: string, text: string): void => writeFileSync(join(folder, name), text)
  await following(
    (folder) => {
      for (const [name, text] of before ?? []) place(folder, `0-${name}`, text)
    },
    ({ folder, objects, log, look, confirm, problems }) => {
      const all = [...objects.keys()].sort()
      assert.equal(all.length, raws.length)
      let [last, number] = [before, 0]
      for (const next of others) {
        log.length = 0
        for (const [name, text] of next) write(folder, `${number + 1}-${name}`, text)
        look()
        // Each object stands twice for a moment, as while a tool copies files.
        assert.ok(
          problems().every(({ code }) => code === 'DuplicateObject'),
          JSON.stringify(problems()[0]),
        )
        for (const name of last?.keys() ?? []) write(folder, `${number}-${name}`, '# moved\n')
        look()
        confirm()
        assert.deepEqual(
          log.filter((entry) => entry.startsWith('-')),
          [],
        )
        assert.deepEqual([...objects.keys()].sort(), all)
        assert.deepEqual(problems(), [])
        last = next
        number++
      }
    },
  )
})
