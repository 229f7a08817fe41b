/** Files that are copied, moved and torn: nothing is lost or told anew, and nobody loses his way. */
import assert from 'node:assert/strict'
import { renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Problem } from '../../src/desired/model.ts'
import { validateManifests } from '../../src/k8s/validate.ts'
import { following, withPort } from './directory-world.ts'
import { service } from './manifests.ts'

const put = (folder: string, name: string, text: string): void => writeFileSync(join(folder, name), text)

test('an object that is copied to another file, and is there and here in turns, is where it is', () =>
  following(
    (folder) => put(folder, 'm.yaml', service('one')),
    ({ folder, look, confirm, origins, log }) => {
      confirm()
      const where = (): unknown => origins.get('Service one')?.file
      for (const copy of ['a.yaml', 'b.yaml', 'a.yaml']) {
        put(folder, copy, service('one'))
        look()
        assert.equal(where(), copy, 'first by name')
        unlinkSync(join(folder, copy))
        confirm()
        assert.equal(where(), 'm.yaml')
        put(folder, copy, service('one'))
        look()
        unlinkSync(join(folder, 'm.yaml'))
        confirm()
        assert.equal(where(), copy)
        renameSync(join(folder, copy), join(folder, 'm.yaml'))
        confirm()
        assert.equal(where(), 'm.yaml')
      }
      assert.deepEqual(log, ['+one', 'synced'], 'which is no news to anybody')
    },
  ))

/** What a writer leaves that emptied the file first and did not get to its end. */
const torn: Readonly<Record<string, Buffer | string>> = {
  'a broken document': `${service('two')}---\nkind: [`,
  'no object': service('one').slice(0, 40),
  'another encoding': Buffer.from(service('one'), 'utf16le'),
  'half a character': Buffer.from(`# ${'\u00e9'}`).subarray(0, 3),
}
/** How it empties the file. */
const emptied: Readonly<Record<string, (path: string) => void>> = {
  empty: (path) => writeFileSync(path, ''),
  away: unlinkSync,
}
const tearings = Object.entries(emptied).flatMap(([how, empty]) =>
  Object.entries(torn).map(([what, content]) => ({ how, empty, what, content })),
)
for (const { how, empty, what, content } of tearings)
  test(`a file that was ${how} for a look and then holds ${what} has deleted nothing until it is whole again`, () =>
    following(
      (folder) => {
        put(folder, 'a.yaml', service('one'))
        put(folder, 'b.yaml', service('two'))
      },
      ({ folder, look, confirm, clock, objects, flushes }) => {
        confirm()
        empty(join(folder, 'a.yaml'))
        look()
        writeFileSync(join(folder, 'a.yaml'), content)
        for (let i = 0; i < 3; i++) confirm()
        assert.ok(objects.has('Service one'))
        const before = flushes()
        clock.advance(60_000)
        assert.ok(flushes() - before < 40, 'and is looked at no more often than any')
        put(folder, 'a.yaml', service('three'))
        look()
        assert.ok(objects.has('Service one'))
        confirm()
        assert.deepEqual([...objects.keys()].sort(), ['Service three', 'Service two'])
      },
    ))

test('a broken file that is removed takes what it had with it, and one that comes later under its name knows nothing', () =>
  following(
    (folder) => {
      put(folder, 'a.yaml', service('one'))
      put(folder, 'b.yaml', service('two'))
    },
    ({ folder, look, confirm, objects, problems }) => {
      confirm()
      const path = join(folder, 'a.yaml')
      unlinkSync(path)
      look()
      put(folder, 'a.yaml', 'kind: [')
      confirm()
      assert.deepEqual([...objects.keys()], ['Service one', 'Service two'])
      unlinkSync(path)
      confirm()
      assert.deepEqual([[...objects.keys()], problems()], [['Service two'], []])
      put(folder, 'a.yaml', 'kind: [')
      confirm()
      put(folder, 'a.yaml', service('three'))
      look()
      assert.deepEqual([...objects.keys()], ['Service two', 'Service three'])
    },
  ))

/** As the agent tells them of a folder, and `validate` of its files. */
const duplicates = (problems: readonly Problem[]): readonly string[] =>
  problems
    .filter(({ code }) => code === 'DuplicateObject')
    .map(
      ({ object: { file, line, name }, message }) =>
        `${file}:${line} ${name} ${/in (\S+ line \d+)/.exec(message)?.[1]}`,
    )
    .sort()

const twice: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  'in one file, alike': [['a.yaml', service('one') + service('one')]],
  'in one file, not alike': [['a.yaml', service('one') + withPort('one', 81)]],
  'in one file, three times': [['a.yaml', service('one') + withPort('one', 81) + service('one')]],
  'in two files': [
    ['a.yaml', service('two') + service('one')],
    ['b.yaml', service('one')],
  ],
  'in a list': [
    [
      'a.yaml',
      `apiVersion: v1\nkind: List\nitems:\n${[80, 80, 81]
        .map((port) => `- {apiVersion: v1, kind: Service, metadata: {name: one}, spec: {ports: [{port: ${port}}]}}\n`)
        .join('')}`,
    ],
  ],
}
for (const [what, files] of Object.entries(twice))
  test(`an object that is written twice ${what}: the first is in force, and agent and validate tell the others alike`, () =>
    following(
      (folder) => {
        for (const [name, text] of files) put(folder, name, text)
      },
      ({ confirm, problems, port, folder }) => {
        for (const head of ['', '# moved\n', '']) {
          const texts = files.map(([name, text]) => ({ name, text: head + text }))
          for (const { name, text } of texts) put(folder, name, text)
          confirm()
          const said = duplicates(validateManifests(texts))
          assert.ok(said.length > 0)
          assert.deepEqual([duplicates(problems()), port('one')], [said, '80'])
        }
      },
    ))
