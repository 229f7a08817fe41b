/** One agent for one state directory, also where the disk takes nothing: a restart goes on. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { lockState, StateLock } from '../../src/agent/state-lock.ts'
import { StateKeeper } from '../../src/agent/state-keeper.ts'
import { InForceRecord } from '../../src/agent/in-force.ts'
import { RestartMarker } from '../../src/agent/restart-marker.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { lockPath } from '../../src/sys/flock.ts'
import { inFolder } from '../k8s/manifests.ts'

const source = (path: string): string => JSON.stringify(fileURLToPath(new URL(`../../src/${path}`, import.meta.url)))

test('a second one is refused, also beside an agent of a version that locks the file alone', () =>
  inFolder((folder) => {
    const state = join(folder, 'state')
    const release = lockState(state)
    assert.throws(() => lockState(state), { code: 'ERR_ALREADY_RUNNING' })
    assert.throws(() => lockPath(join(state, 'lock'), 'file'), { code: 'ERR_ALREADY_RUNNING' })
    release()
    const former = lockPath(join(state, 'lock'), 'file')
    assert.throws(() => lockState(state), { code: 'ERR_ALREADY_RUNNING' })
    former()
    lockState(state)()
  }))

test('another folder in the place of the one that is locked is locked in its turn, unless another agent has it', () =>
  inFolder(async (folder) => {
    const state = join(folder, 'state')
    const lock = new StateLock(state)
    renameSync(state, `${state}.away`)
    await assert.rejects(lock.keep(), { code: 'ENOENT' })
    mkdirSync(state)
    const other = lockState(state)
    const clock = new VirtualClock()
    const raised: string[] = []
    const faults = { raise: (key: string) => raised.push(key), clear: () => {} }
    const marker = new RestartMarker(state, clock, () => lock.keep())
    const record = new InForceRecord(state)
    const inForce = { neighbors: [], prefixes: ['10.0.0.1/32'] }
    const same = { inForce: () => inForce, inForceMark: () => 'first', announcedCount: () => 1 }
    await new StateKeeper({ clock, faults, marker, record, ...same }).stop()
    await assert.rejects(marker.setLater(), { code: 'ERR_ALREADY_RUNNING' })
    writeFileSync(join(state, 'sessions'), 'of the other one')
    await marker.clear()
    assert.deepEqual(readdirSync(state).sort(), ['lock', 'sessions'])
    assert.deepEqual(raised, ['state record'])
    other()
    await marker.setLater()
    assert.throws(() => lockState(state), { code: 'ERR_ALREADY_RUNNING' })
    lockState(`${state}.away`)()
    lock.end()
    lockState(state)()
  }))

/** What a process says that begins with a state directory on a file system of its own. */
function startedOn(mounts: string): unknown {
  const script = `
    const { lockState } = await import(${source('agent/state-lock.ts')})
    const { RestartMarker } = await import(${source('agent/restart-marker.ts')})
    const { InForceRecord } = await import(${source('agent/in-force.ts')})
    const { StateKeeper } = await import(${source('agent/state-keeper.ts')})
    const { VirtualClock } = await import(${source('clock/virtual-clock.ts')})
    const state = process.argv[1]
    const codeOf = (run) => { try { run(); return 'taken' } catch ({ code }) { return code } }
    const codes = [codeOf(() => lockState(state)), codeOf(() => lockState(state))]
    const marker = new RestartMarker(state)
    const isRestart = marker.isRestart
    const raised = []
    const faults = { raise: (key) => raised.push(key), clear() {} }
    const parts = { clock: new VirtualClock(), faults, marker, record: new InForceRecord(state) }
    new StateKeeper({ ...parts, inForce() {}, inForceMark: () => '', announcedCount: () => 0 }).mark()
    console.log(JSON.stringify([...codes, isRestart, raised]))`
  const words = '"$0" --input-type=module -e "$1" "$2"'
  const folder = mkdtempSync(join(tmpdir(), 'state-lock-'))
  try {
    const run = ['-m', 'sh', '-ec', `${mounts}; ${words}`, process.execPath, script, folder]
    return JSON.parse(execFileSync('unshare', run, { encoding: 'utf8', timeout: 60_000 }))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const skip = process.getuid?.() === 0 ? false : 'needs root to mount'
const bootId = 'cat /proc/sys/kernel/random/boot_id'

test('where the disk is read-only or full the agent starts, once, and as the restart that it is', { skip }, () => {
  const [once, twice] = ['taken', 'ERR_ALREADY_RUNNING']
  for (const made of ['touch "$2/lock"; ', '']) {
    const marked = `mount -t tmpfs none "$2"; ${made}${bootId} > "$2/sessions"; mount -o remount,ro "$2"`
    assert.deepEqual(startedOn(marked), [once, twice, true, []], made)
  }
  const full = 'mount -t tmpfs -o nr_inodes=2 none "$2"; touch "$2/other"'
  assert.deepEqual(startedOn(full), [once, twice, false, ['state mark']])
})
