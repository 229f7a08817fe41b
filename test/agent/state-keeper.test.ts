/** A state directory around which everything goes wrong, and comes right again by itself. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { Faults } from '../../src/agent/faults.ts'
import { InForceRecord } from '../../src/agent/in-force.ts'
import { RestartMarker } from '../../src/agent/restart-marker.ts'
import { StateKeeper, type StateKeeperPorts } from '../../src/agent/state-keeper.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { inFolder } from '../k8s/manifests.ts'
import { waitFor } from '../wait.ts'

const inForce = { neighbors: ['65001/192.0.2.1'], prefixes: ['10.0.0.1/32'] }

/** The keeper of a folder, with what a test turns and looks at. */
function keeperOf(state: string, more: Partial<StateKeeperPorts> = {}) {
  const [clock, log] = [new VirtualClock(), new MemoryLog()]
  const faults = new Faults(clock, log)
  const [marker, record] = [new RestartMarker(state), new InForceRecord(state)]
  const same = { inForce: () => inForce, inForceMark: () => 'first', announcedCount: () => 1 }
  const keeper = new StateKeeper({ clock, faults, marker, record, ...same, ...more })
  const seen = (what: string, isSo: () => boolean): Promise<boolean> =>
    waitFor(what, () => {
      clock.advance(1_000)
      return isSo()
    })
  const keys = (): string => faults.current.map(({ key }) => key).join()
  const isKept = (): boolean => marker.isRestart && record.read()?.prefixes.join() === inForce.prefixes.join()
  return { clock, log, faults, marker, record, keeper, seen, keys, isKept }
}

test('what a full folder did not take is written when there is room, though nothing else happens', () =>
  inFolder(async (folder) => {
    const state = join(folder, 'state')
    const { keeper, seen, keys, isKept, faults, log } = keeperOf(state)
    renameSync(state, `${state}.away`)
    writeFileSync(state, 'no folder')
    keeper.mark()
    keeper.rememberSoon()
    await seen('both faults', () => keys() === 'state mark,state record')
    for (const { text } of faults.current) assert.match(text, new RegExp(state), 'which folder it is')
    rmSync(state)
    renameSync(`${state}.away`, state)
    await seen('no fault', () => keys() === '')
    assert.equal(isKept(), true)
    assert.equal(log.lines.filter((line) => /mended/.test(line)).length, 2)
  }))

test('a folder that is removed, or in whose place another one comes, has both again', () =>
  inFolder(async (folder) => {
    const state = join(folder, 'state')
    const { keeper, seen, keys, isKept } = keeperOf(state)
    keeper.mark()
    keeper.rememberSoon()
    await seen('both', isKept)
    rmSync(state, { recursive: true })
    await seen('both again', isKept)
    renameSync(state, `${state}.away`)
    mkdirSync(state)
    await seen('both in another folder', isKept)
    rmSync(join(state, 'in-force.json'))
    await seen('the record again', isKept)
    assert.equal(keys(), '')
  }))

test('without a neighbor there is no mark, and before anything was in force no record', () =>
  inFolder(async (folder) => {
    const state = join(folder, 'state')
    let looks = 0
    const { keeper, seen, marker } = keeperOf(state)
    await seen('some looks', () => ++looks > 30)
    assert.deepEqual([marker.isRestart, existsSync(join(state, 'in-force.json'))], [false, false])
    await keeper.stop()
  }))

test('a file system that does not answer is told, holds neither the loop nor the end, and is well when it answers', () =>
  inFolder(async (folder) => {
    const state = join(folder, 'state')
    let answer = (): void => {}
    const silence = new Promise<void>((resolve) => (answer = resolve))
    const record = new (class extends InForceRecord {
      override write(): Promise<void> {
        return silence
      }
    })(state)
    const patience = new VirtualClock()
    const { keeper, keys, clock, faults, marker } = keeperOf(state, {
      record,
      marker: new RestartMarker(state, patience),
    })
    keeper.mark()
    keeper.rememberSoon()
    clock.advance(1_000)
    patience.advance(5_000)
    assert.equal(keys(), 'state silent')
    assert.match(faults.current[0]?.text ?? '', /file system of .*state \(--state-dir\) has not answered for 5 s/)
    // What is marked is not written anew with each change of a neighbor.
    rmSync(join(state, 'sessions'))
    keeper.mark()
    assert.equal(marker.isRestart, false)
    const end = keeper.stop()
    patience.advance(5_000)
    await end
    answer()
    await waitFor('no fault', () => keys() === '')
  }))
