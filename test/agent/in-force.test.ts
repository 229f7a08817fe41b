import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { InForceRecord, missingAfterRestart, type AfterRestart } from '../../src/agent/in-force.ts'
import { RestartMarker } from '../../src/agent/restart-marker.ts'
import type { Problem } from '../../src/desired/model.ts'

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'state-'))
  t.after(() => rmSync(path, { recursive: true }))
  return path
}

const before = { neighbors: ['65001/192.0.2.1'], prefixes: ['10.0.0.1/32', '10.0.0.2/32'] }
const error: Problem = {
  severity: 'error',
  object: { kind: 'File', name: 'a.yaml' },
  field: '',
  code: 'DuplicateObject',
  message: '',
  remedy: '',
}
const source = { isReachable: true, objects: 5, unconfirmed: 0 }
const whole: AfterRestart = { before, now: before, problems: [], hasFaults: false, source }
const less = { neighbors: [], prefixes: ['10.0.0.2/32'] }

const cases: readonly (readonly [string, Partial<AfterRestart>, readonly string[]])[] = [
  ['everything is there again', {}, []],
  ['everything is there, and something else is broken', { problems: [error] }, []],
  ['some of it is gone, and nothing is wrong: it was removed', { now: less }, []],
  ['a warning alone is nothing to wait for', { now: less, problems: [{ ...error, severity: 'warning' }] }, []],
  [
    'some of it is gone, with an error of whatever code',
    { now: less, problems: [error] },
    ['neighbor 65001/192.0.2.1', 'route 10.0.0.1/32'],
  ],
  [
    'some of it is gone, and something fails',
    { now: less, hasFaults: true },
    ['neighbor 65001/192.0.2.1', 'route 10.0.0.1/32'],
  ],
  [
    'the source is empty',
    { now: { neighbors: [], prefixes: [] }, source: { ...source, objects: 0 } },
    ['neighbor 65001/192.0.2.1', 'route 10.0.0.1/32', 'route 10.0.0.2/32'],
  ],
  [
    'the source cannot be reached',
    { now: less, source: { ...source, isReachable: false } },
    ['neighbor 65001/192.0.2.1', 'route 10.0.0.1/32'],
  ],
  [
    'something is missing and not confirmed to be gone',
    { now: less, source: { ...source, unconfirmed: 1 } },
    ['neighbor 65001/192.0.2.1', 'route 10.0.0.1/32'],
  ],
  ['nothing is remembered and all is well', { before: undefined }, []],
  ['nothing is remembered, and there is an error', { before: undefined, problems: [error] }, ['what cannot be read']],
  [
    'nothing is remembered, and the source is empty',
    { before: undefined, source: { ...source, objects: 0 } },
    ['every object'],
  ],
]
for (const [title, change, missing] of cases)
  test(`after a restart: ${title}`, () => assert.deepEqual(missingAfterRestart({ ...whole, ...change }), missing))

test('what is remembered is read by the next process; of many writes at once the last one stays', async (t) => {
  const state = folder(t)
  const record = new InForceRecord(state)
  assert.equal(record.read(), undefined)
  await Promise.all([record.write(less), record.write({ neighbors: [], prefixes: [] }), record.write(before)])
  assert.deepEqual(new InForceRecord(state).read(), before)
  assert.equal(statSync(join(state, 'in-force.json')).mode & 0o777, 0o600)
  assert.ok(!existsSync(join(state, 'in-force.json.new')))
})

test('a record that is damaged, of another shape, a link, a FIFO or too large is none', async (t) => {
  const state = folder(t)
  const file = join(state, 'in-force.json')
  for (const text of [
    '',
    '{',
    'null',
    '[]',
    '{"neighbors":[1],"prefixes":[]}',
    '{"neighbors":[]}',
    ' '.repeat(17 << 20),
  ]) {
    writeFileSync(file, text)
    assert.equal(new InForceRecord(state).read(), undefined, text.slice(0, 40))
  }
  rmSync(file)
  writeFileSync(join(state, 'other'), JSON.stringify(before))
  symlinkSync(join(state, 'other'), file)
  assert.equal(new InForceRecord(state).read(), undefined)
  rmSync(file)
  execFileSync('mkfifo', [file])
  assert.equal(new InForceRecord(state).read(), undefined)
})

test('a link that somebody planted in the state directory is replaced and never written through', async (t) => {
  const state = folder(t)
  const outside = join(state, 'outside')
  writeFileSync(outside, 'precious')
  for (const name of ['in-force.json', 'in-force.json.new', 'sessions', 'sessions.new'])
    symlinkSync(outside, join(state, name))
  await new InForceRecord(state).write(before)
  const marker = new RestartMarker(state)
  assert.equal(marker.isRestart, false)
  marker.set()
  assert.equal(readFileSync(outside, 'utf8'), 'precious')
  assert.deepEqual(new InForceRecord(state).read(), before)
  assert.equal(new RestartMarker(state).isRestart, true)
})

test('a mark counts for this boot only, and not after a planned stop', async (t) => {
  const state = folder(t)
  const marker = new RestartMarker(state)
  marker.set()
  marker.set()
  const next = new RestartMarker(state)
  assert.equal(next.isRestart, true)
  await next.clear()
  assert.equal(new RestartMarker(state).isRestart, false)
  writeFileSync(join(state, 'sessions'), 'another boot\n')
  assert.equal(new RestartMarker(state).isRestart, false)
})
