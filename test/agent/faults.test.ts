import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { Faults } from '../../src/agent/faults.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'

function faultsOf() {
  const clock = new VirtualClock(0)
  const log = new MemoryLog()
  return { clock, log, faults: new Faults(clock, log) }
}

test('a failure is said once, counted each time, and gone with its cause, which is said too', () => {
  const { clock, log, faults } = faultsOf()
  for (let i = 0; i < 3; i++) {
    faults.raise('program ERR_MAP_FULL', 'default/a', `attempt ${i}`)
    clock.advance(1_000)
  }
  assert.deepEqual(faults.current, [
    { key: 'program ERR_MAP_FULL', text: 'default/a: attempt 2', since: '1970-01-01T00:00:00.000Z', times: 3 },
  ])
  faults.clear('program ERR_MAP_FULL', 'default/a')
  assert.deepEqual(faults.current, [])
  assert.deepEqual(log.lines, ['error default/a: attempt 0; it is tried again', 'info program ERR_MAP_FULL: mended'])
  assert.deepEqual([...faults.totals], [['program ERR_MAP_FULL', 3]])
})

test('what strikes thousands is one fault and one line, which names three and counts the others', () => {
  const { log, faults } = faultsOf()
  for (let i = 0; i < 2_000; i++) faults.raise('program ERR_MAP_FULL', `default/s${i}`, 'map full')
  const [fault, ...others] = faults.current
  assert.deepEqual(
    [fault?.text, fault?.times, others],
    ['default/s0: map full; also default/s1, default/s2, 1997 more', 2_000, []],
  )
  assert.equal(log.lines.length, 1)
  for (let i = 1; i < 2_000; i++) faults.clear('program ERR_MAP_FULL', `default/s${i}`)
  assert.equal(faults.current[0]?.text, 'default/s0: map full')
  faults.clear('program ERR_MAP_FULL', 'default/s0')
  assert.equal(log.lines.length, 2)
})

test('what was never wrong cannot be mended, and what comes back is said again', () => {
  const { log, faults } = faultsOf()
  faults.clear('attach', '')
  assert.equal(log.lines.length, 0)
  for (let i = 0; i < 2; i++) {
    faults.raise('attach', '', 'our programs are not on every uplink: EBUSY')
    faults.clear('attach', 'another')
    assert.equal(faults.current.length, 1)
    faults.clear('attach', '')
  }
  assert.equal(log.lines.filter((line) => line.startsWith('error')).length, 2)
})
