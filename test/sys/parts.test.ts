/** Built files with the code that was made of them: it is run where it fits, and nothing is wrong where it does not. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { Script } from 'node:vm'
import { headOf, loadPart, runBuilt } from '../../src/sys/parts.ts'

let folder: string
let path: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'herald-parts-'))
  path = join(folder, 'part.cjs')
})
afterEach(() => rmSync(folder, { recursive: true }))

/** Of one length, which is all of a source that the engine looks at: what is answered says which code was run. */
const sourceOf = (what: string): string => `exports.what = '${what}'; exports.place = __filename\n// build 1\n`
const codeOf = (source: string): Buffer =>
  new Script(`(function (exports, require, module, __filename, __dirname) {${source}\n})`).createCachedData()
const whatRan = (): string => String(Object(runBuilt(path)).what)

/** What runs of such files, as a build leaves them; `head` in place of what is right. */
function ran(source: string, code: Buffer, head = headOf(source)): string {
  write(source, code, head)
  return whatRan()
}

function write(source: string, code: Buffer, head = headOf(source)): void {
  writeFileSync(path, source)
  writeFileSync(`${path}.code`, Buffer.concat([Buffer.from(head), code]))
}

test('a built file is run with the code that lies beside it', () => {
  const source = sourceOf('file')
  assert.equal(ran(source, codeOf(sourceOf('code'))), 'code')
  assert.equal(Object(runBuilt(path)).place, path)
})

test('code of another engine, processor or build is passed over, and so is what is no code', () => {
  const [source, code] = [sourceOf('file'), codeOf(sourceOf('code'))]
  const head = headOf(source)
  for (const wrong of [
    head.replace(process.version, 'v24.0.0'),
    head.replace(process.arch, 'mips'),
    head.replace('build 1', 'build 2'),
    '',
  ])
    assert.equal(ran(source, code, wrong), 'file', wrong)
  for (const broken of [Buffer.alloc(0), Buffer.from('no code at all'), code.subarray(0, 40)])
    assert.equal(ran(source, broken), 'file', `${broken.length} octets`)
  assert.equal(ran(`${source.slice(0, -12)} // longer\n// build 1\n`, code), 'file', 'of another length')
})

test('who edits a built file sees what was written, and one without code is run all the same', () => {
  // Not run before: the engine knows a source that it has compiled once.
  write(sourceOf('file'), codeOf(sourceOf('code')))
  utimesSync(path, new Date(), new Date(Date.now() + 5_000))
  assert.equal(whatRan(), 'file')
  rmSync(`${path}.code`)
  assert.equal(whatRan(), 'file')
})

test('a part is loaded from beside the built file that asks, and has what it requires', async () => {
  writeFileSync(join(folder, 'other.cjs'), 'exports.two = 2\n// build 1\n')
  writeFileSync(
    path,
    `exports.sum = 1 + require('./other.cjs').two; exports.late = () => import('node:os')\n// build 1\n`,
  )
  const from = pathToFileURL(join(folder, 'main.cjs')).href
  const part: { readonly sum: number; late(): Promise<object> } = await loadPart(from, './part.ts', './part.cjs')
  assert.equal(part.sum, 3)
  assert.ok('hostname' in (await part.late()))
})

test('a part of the sources is loaded as a module', async () => {
  const part: typeof import('../../src/clock/due.ts') = await loadPart(
    import.meta.url,
    '../../src/clock/due.ts',
    './none.cjs',
  )
  assert.equal(typeof part.Due, 'function')
})
