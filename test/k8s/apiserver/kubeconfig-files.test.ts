/** Several files in KUBECONFIG, as kubectl merges them. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { placeOfContext } from '../../../src/k8s/apiserver/kubeconfig-files.ts'

const folder = mkdtempSync(join(tmpdir(), 'herald-kubeconfigs-'))
after(() => rmSync(folder, { recursive: true }))

function file(name: string, current: string | undefined, ...contexts: readonly string[]): string {
  const config = { 'current-context': current, contexts: contexts.map((each) => ({ name: each, context: {} })) }
  writeFileSync(join(folder, name), JSON.stringify(config))
  return join(folder, name)
}

test('the first file that names a current context decides, and of a context the first that has it', () => {
  const [empty, first, second] = [file('a', undefined), file('b', 'x', 'x', 'y'), file('c', 'z', 'y', 'z')]
  assert.deepEqual(placeOfContext([empty, first, second], undefined), { path: first, context: 'x' })
  assert.deepEqual(placeOfContext([second, first], undefined), { path: second, context: 'z' })
  assert.deepEqual(placeOfContext([first, second], 'z'), { path: second, context: 'z' })
  assert.deepEqual(placeOfContext([second, first], 'y'), { path: second, context: 'y' })
  // What is current in one file may be in another.
  const elsewhere = file('d', 'z')
  assert.deepEqual(placeOfContext([elsewhere, second], undefined), { path: second, context: 'z' })
})

test('one file is taken as it is, and none that has the context is an error that names them all', () => {
  const first = file('e', undefined, 'x')
  assert.deepEqual(placeOfContext([first], undefined), { path: first, context: undefined })
  assert.throws(() => placeOfContext([first, first], undefined), { code: 'ERR_KUBECONFIG', message: /which context/ })
  assert.throws(() => placeOfContext([first, file('f', 'q')], undefined), {
    code: 'ERR_KUBECONFIG',
    message: /\/e, .*\/f: none has a context q/,
  })
  writeFileSync(join(folder, 'g'), '{"contexts": [')
  assert.throws(() => placeOfContext([first, join(folder, 'g')], 'x'), {
    code: 'ERR_KUBECONFIG',
    message: /\/g cannot/,
  })
})
