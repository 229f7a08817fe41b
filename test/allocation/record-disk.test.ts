/** The record on a real disk that fails: small file systems in a mount namespace of their own. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inFolder } from '../k8s/manifests.ts'

const mayMount = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0

test(
  'a disk that becomes read-only, writable again and full: what is held stays, and is recorded where it can be',
  { skip: mayMount ? false : 'needs root and a mount namespace' },
  () =>
    inFolder((folder) => {
      const script = fileURLToPath(new URL('disk-agent.ts', import.meta.url))
      const output = execFileSync('unshare', ['-m', process.execPath, script, folder], { encoding: 'utf8' })
      const steps = JSON.parse(output) as Record<string, unknown>
      const two = { 'default/api': ['10.0.0.0'], 'default/web': ['10.0.0.1'] }
      const four = { ...two, 'default/new': ['10.0.0.2'], 'default/aaa': ['10.0.0.3'] }
      const five = { ...four, 'default/more': ['10.0.0.4'] }
      const sorted = (all: object): object => Object.fromEntries(Object.entries(all).sort())
      assert.deepEqual(steps['writable'], [two, null])
      assert.deepEqual(steps['read-only'], [sorted({ ...two, 'default/new': ['10.0.0.2'] }), 'RecordElsewhere'])
      assert.deepEqual(steps['read-only after a restart'], [sorted(four), 'RecordElsewhere'])
      assert.deepEqual(steps['writable again'], [sorted(five), null])
      assert.equal(steps['in the folder'], true)
      assert.deepEqual(steps['full'], [sorted(five), 'NotRecorded'])
      assert.deepEqual(steps['left beside the record'], [])
      const late = Array.from({ length: 100 }, (_, i) => [
        `default/late-${String(i).padStart(60, '0')}`,
        [`10.0.0.${5 + i}`],
      ])
      assert.deepEqual(steps['room again'], [sorted({ ...five, ...Object.fromEntries(late) }), null])
    }),
)
