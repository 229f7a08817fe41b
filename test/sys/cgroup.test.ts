import assert from 'node:assert/strict'
import { readFileSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { test } from 'node:test'
import { findCgroup, withCgroup } from '../../src/sys/cgroup.ts'

const hybrid = [
  '24 1 0:22 / /sys rw,nosuid - sysfs sysfs rw',
  '30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755',
  '31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu',
]

test('what is no cgroup v2 is said, and where one is', () => {
  const folder = tmpdir()
  const said = (table: readonly string[], message: RegExp): void =>
    assert.throws(() => findCgroup(folder, table.join('\n')), { code: 'ERR_CGROUP', message })
  said(hybrid, /is no cgroup v2: this machine has cgroup v1 alone$/)
  said(
    [...hybrid, '32 24 0:28 / /mnt/two\\040words rw - cgroup2 cgroup2 rw'],
    /is no cgroup v2; one is at \/mnt\/two words$/,
  )
  said([], /is no cgroup v2, and none is mounted$/)
  assert.throws(() => findCgroup('/no/such/folder', ''), { code: 'ERR_CGROUP', message: /^\/no\/such\/folder is no/ })
})

test('a mount of cgroup v2 is found at a path and below it, never above or beside', () => {
  const table = readFileSync('/proc/self/mountinfo', 'utf8')
  const mounts = table
    .split('\n')
    .filter((line) => line.includes(' - cgroup2 '))
    .map((line) => line.split(' ')[4] ?? '')
  const [mount = ''] = mounts
  if (mount === '') return assert.throws(() => findCgroup('/', table), { code: 'ERR_CGROUP' })
  const found = findCgroup(mount)
  assert.equal(found.path, mount)
  assert.equal(found.id, statSync(mount, { bigint: true }).ino)
  assert.ok(mounts.includes(findCgroup('/').path))
  assert.throws(() => findCgroup('/proc', table), { code: 'ERR_CGROUP' })
  assert.throws(() => findCgroup('/sy', table), { code: 'ERR_CGROUP' })
})

test('a group that is gone when it is opened is said by its path', () => {
  assert.throws(() => withCgroup({ path: '/no/such/group' }, () => 0), {
    code: 'ERR_CGROUP',
    message: /no\/such\/group/,
  })
})
