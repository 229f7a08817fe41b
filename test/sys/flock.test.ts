import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { lockPath } from '../../src/sys/flock.ts'
import { isBpffs, mountBpffs, unmountBpffs } from '../../src/sys/mount.ts'

test('a file or folder is locked by one at a time, and free again when it is released', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lock-'))
  t.after(() => rmSync(folder, { recursive: true }))
  mkdirSync(join(folder, 'place'))
  for (const [path, kind] of [
    [join(folder, 'lock'), 'file'],
    [join(folder, 'place'), 'directory'],
  ] as const) {
    const release = lockPath(path, kind)
    assert.throws(() => lockPath(path, kind), {
      code: 'ERR_ALREADY_RUNNING',
      message: new RegExp(`agent holds ${path}`),
    })
    release()
    lockPath(path, kind)()
  }
  assert.equal(statSync(join(folder, 'lock')).mode & 0o777, 0o600)
  assert.throws(() => lockPath(join(folder, 'lock'), 'directory'), { code: 'ENOTDIR' })
})

test('what is no bpf file system is said with the errno of the call', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mount-'))
  t.after(() => rmSync(folder, { recursive: true }))
  assert.equal(isBpffs(folder), false)
  assert.equal(isBpffs(join(folder, 'none')), false)
  assert.throws(() => unmountBpffs(join(folder, 'none')), { code: 'ERR_BPFFS', message: /unmount .*: E(NOENT|PERM)/ })
  assert.throws(() => mountBpffs(join(folder, 'none\0')), { code: 'ERR_BPFFS', message: /cannot be made/ })
})
