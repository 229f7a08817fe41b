import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { test, type TestContext } from 'node:test'
import { makeFolder } from '../../src/sys/folder.ts'

function temporary(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'herald-folder-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return folder
}

test('a folder is made with the parents that it lacks, all with the mode that is asked for', (t) => {
  const folder = temporary(t)
  makeFolder(join(folder, 'a', 'b', 'c'), 0o700)
  for (const path of ['a', 'a/b', 'a/b/c']) assert.equal(statSync(join(folder, path)).mode & 0o777, 0o700)
  makeFolder(join(folder, 'd/../e//f/'))
  assert.ok(statSync(join(folder, 'e/f')).isDirectory())
  makeFolder(relative(process.cwd(), join(folder, 'g')))
  assert.ok(statSync(join(folder, 'g')).isDirectory())
})

test('a folder that is there is left as it is, also over a link; the root and the present one are there', (t) => {
  const folder = temporary(t)
  mkdirSync(join(folder, 'own'), { mode: 0o711 })
  symlinkSync('own', join(folder, 'link'))
  for (const path of [join(folder, 'own'), join(folder, 'link'), '/', '.']) makeFolder(path, 0o700)
  assert.equal(statSync(join(folder, 'own')).mode & 0o777, 0o711)
  makeFolder(join(folder, 'link', 'below'))
  assert.ok(statSync(join(folder, 'own', 'below')).isDirectory())
})

test('what is no folder is neither replaced nor taken for one', (t) => {
  const folder = temporary(t)
  writeFileSync(join(folder, 'file'), 'precious')
  symlinkSync('nowhere', join(folder, 'dangling'))
  for (const [path, code] of [
    ['file', 'EEXIST'],
    ['file/below', 'ENOTDIR'],
    ['dangling', 'ENOENT'],
    ['x'.repeat(256), 'ENAMETOOLONG'],
  ] as const)
    assert.throws(() => makeFolder(join(folder, path)), { code }, path)
  assert.throws(() => makeFolder(''), { code: 'ENOENT' })
})

test('a file system that takes no folders says so at once, at any depth (procfs answers ENOENT for ever)', () => {
  // In a process of its own: what this is about is a loop that no deadline of this one could end.
  const source = new URL('../../src/sys/folder.ts', import.meta.url).href
  const script = `import { makeFolder } from ${JSON.stringify(source)}
for (const path of ['/proc/none', '/proc/none/below/it', '/proc/self/none', '/dev/fd/none/below', '/sys/none'])
  try { makeFolder(path); console.log('made') } catch ({ code, path: where }) { console.log(code, where) }`
  const { stdout, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    timeout: 60_000,
  })
  assert.equal(signal, null)
  assert.match(
    stdout,
    /^ENOENT \/proc\/none\nENOENT \/proc\/none\nENOENT \/proc\/self\/none\nENOENT \/dev\/fd\/none\nE(PERM|ACCES|ROFS) \/sys\/none\n$/,
  )
})
