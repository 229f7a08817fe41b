import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'
import { removeFile, removePod } from '../../lab/edit.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

function copyOfManifests(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'herald-test-edit-'))
  cpSync(join(root, 'containerlab/rack/manifests'), folder, { recursive: true })
  context.after(() => rmSync(folder, { recursive: true }))
  return folder
}

const texts = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(folder)
      .sort()
      .map((name) => [name, readFileSync(join(folder, name), 'utf8')]),
  )

/** The pods behind a Service, as its file says. */
function podsIn(folder: string, file: string): string[] {
  const slice = parseAllDocuments(readFileSync(join(folder, file), 'utf8'))[1]
  const { endpoints } = (slice as { toJS(): { endpoints: { targetRef: { name: string } }[] } }).toJS()
  return endpoints.map((endpoint) => endpoint.targetRef.name)
}

test('a pod that is gone leaves every EndpointSlice, the Service beside it stays, and undoing restores every byte', (context) => {
  const folder = copyOfManifests(context)
  const before = texts(folder)
  const undo = removePod(folder, 'pod2a')
  assert.deepEqual(podsIn(folder, 'web.yaml'), ['pod1a', 'pod1b', 'pod3a'])
  assert.deepEqual(podsIn(folder, 'echo.yaml'), ['pod3a'])
  assert.equal(parseAllDocuments(readFileSync(join(folder, 'web.yaml'), 'utf8')).length, 2)
  assert.deepEqual(Object.keys(texts(folder)), Object.keys(before), 'no partial file is left')
  undo()
  assert.deepEqual(texts(folder), before)
})

test('a pod that nobody knows changes no file', (context) => {
  const folder = copyOfManifests(context)
  const before = texts(folder)
  removePod(folder, 'pod9z')
  assert.deepEqual(texts(folder), before)
})

test('a removed file comes back as it was', (context) => {
  const folder = copyOfManifests(context)
  const before = texts(folder)
  const undo = removeFile(folder, 'echo.yaml')
  assert.ok(!readdirSync(folder).includes('echo.yaml'))
  undo()
  assert.deepEqual(texts(folder), before)
})
