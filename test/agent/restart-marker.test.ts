/** What the next process knows of the one before, and what it tells the routers of it. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { forwardingOf, RestartMarker } from '../../src/agent/restart-marker.ts'
import { inFolder } from '../k8s/manifests.ts'

test('forwarding was preserved where programs of the earlier process are on an interface (RFC 4724 4.1)', () => {
  const of = (adopted: boolean, ...interfaces: readonly string[]) => forwardingOf({ kind: 'ebpf', adopted, interfaces })
  assert.deepEqual(of(true, 'eth0', 'eth1'), {
    isPreserved: true,
    why: 'the programs of the earlier process are on eth0, eth1',
  })
  assert.equal(of(true).isPreserved, false, 'maps alone forward nothing')
  const lost = forwardingOf({ kind: 'ebpf', adopted: true, interfaces: ['eth0'], lostUplinks: 1 })
  assert.deepEqual([lost.isPreserved, /1 are gone/.test(lost.why)], [false, true])
  assert.equal(of(false, 'eth0').isPreserved, false, 'programs of this process were not there meanwhile')
  assert.equal(forwardingOf({ kind: 'none', adopted: false, interfaces: [] }).isPreserved, true)
})

test('a start is a restart after a mark of this boot, and not after a stop, another boot or a damaged mark', () =>
  inFolder(async (folder) => {
    const state = join(folder, 'state')
    const isRestart = (): boolean => new RestartMarker(state).isRestart
    assert.equal(isRestart(), false, 'a first start')
    new RestartMarker(state).set()
    assert.equal(isRestart(), true)
    const mark = readFileSync(join(state, 'sessions'), 'utf8')
    for (const other of ['', 'x'.repeat(4096), '00000000-0000-0000-0000-000000000000\n']) {
      writeFileSync(join(state, 'sessions'), other)
      assert.equal(isRestart(), false, JSON.stringify(other.slice(0, 40)))
    }
    writeFileSync(join(state, 'sessions'), mark)
    assert.equal(isRestart(), true)
    await new RestartMarker(state).clear()
    assert.equal(isRestart(), false)
    await new RestartMarker(state).clear()
    rmSync(state, { recursive: true })
    mkdirSync(join(state, 'sessions'), { recursive: true })
    assert.equal(isRestart(), false, 'a folder in its place')
  }))
