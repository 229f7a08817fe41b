/** The bpf file system where there is none: mounted once, seen as what it is, and taken away again. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const canIsolate = spawnSync('unshare', ['-m', 'true']).status === 0
const skip = canIsolate ? false : 'needs root and namespaces'
const folder = mkdtempSync(join(tmpdir(), 'herald-mount-'))
const script = fileURLToPath(new URL('mount-process.ts', import.meta.url))
const steps = canIsolate
  ? (JSON.parse(
      execFileSync('unshare', ['-m', process.execPath, script, folder], { encoding: 'utf8', timeout: 60_000 }),
    ) as Record<string, unknown>)
  : {}

after(() => rmSync(folder, { recursive: true }))

test('bpffs is mounted where it is not, in a folder that is made for it, for root alone', { skip }, () => {
  assert.deepEqual(steps['before'], [false, false])
  assert.deepEqual(steps['mounted'], [true, 1, '700'])
})

test('where it is mounted it stays the one that it is, with what is pinned there', { skip }, () => {
  assert.deepEqual(steps['again'], [1, true, true])
})

test('taken away it leaves the folder, and is not there to be taken away once more', { skip }, () => {
  assert.deepEqual(steps['unmounted'], [false, 0, true])
  assert.deepEqual(steps['unmounted again'], ['ERR_BPFFS', 'EINVAL', 'unmount /deep/bpf: EINVAL'])
})

test('a place that is no folder, or can be none, is said with its path', { skip }, () => {
  const [code, , message] = steps['a file'] as readonly string[]
  assert.equal(code, 'ERR_BPFFS')
  assert.match(message ?? '', /^\/deep\/bpf cannot be made: /)
  assert.deepEqual(steps['a folder that cannot be'], ['ERR_BPFFS'])
})
