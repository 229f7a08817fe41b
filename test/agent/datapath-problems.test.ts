import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Faults } from '../../src/agent/faults.ts'
import { FullMaps } from '../../src/agent/full-maps.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { DatapathProblem } from '../../src/datapath/datapath.ts'

test('what the datapath has to say of itself is a fault of its kind, for as long as it is so', () => {
  const faults = new Faults(new VirtualClock(), { error: () => {}, info: () => {} })
  let problems: readonly DatapathProblem[] = []
  const judge = new FullMaps(
    {
      get status() {
        return { kind: 'ebpf' as const, interfaces: [], adopted: false, schema: 5, problems }
      },
    },
    faults,
  )
  const seen = (): readonly (readonly [string, number])[] => faults.current.map(({ key, times }) => [key, times])
  const full = { subject: 'up0', text: 'full', times: 1 }
  const refused = { kind: 'acceleration', subject: 'up0', text: 'its driver takes no XDP program', times: 1 } as const
  problems = [full, refused]
  judge.judge()
  judge.judge()
  assert.deepEqual(seen(), [
    ['map', 1],
    ['acceleration', 1],
  ])
  problems = [full, { ...refused, times: 2 }]
  judge.judge()
  assert.deepEqual(seen(), [
    ['map', 1],
    ['acceleration', 2],
  ])
  problems = [full]
  judge.judge()
  assert.deepEqual(seen(), [['map', 1]])
})
