/** What Prometheus reads of XDP. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AgentViews, StatusView } from '../../src/api/types.ts'
import { createMetrics } from '../../src/observe/metrics.ts'
import { memoryViews } from '../api/memory-views.ts'
import { type Family, parseExposition, value } from './exposition.ts'

type Accelerated = NonNullable<StatusView['datapath']['acceleration']>['interfaces']

test('of each uplink where XDP was asked for it is told what it has, as long as it is there', async () => {
  const status = await memoryViews().status()
  const told = (interfaces: Accelerated): Partial<AgentViews> => ({
    status: async () => ({
      ...status,
      datapath: { ...status.datapath, acceleration: { wanted: 'best-effort', interfaces } },
    }),
  })
  const answer = createMetrics(() => ({ count: 0, errors: 0, lastMs: 0, lostLogLines: 0, failures: new Map() }))
  const scrape = async (changed: Partial<AgentViews>): Promise<Map<string, Family>> =>
    parseExposition(await answer({ ...memoryViews(), ...changed }))
  const name = 'herald_datapath_xdp_interface'
  const [eth0, br0] = [{ interface: 'eth0', mode: 'native' } as const, { interface: 'br0', mode: 'none' } as const]
  const both = await scrape(told([eth0, { ...br0, reason: 'its driver takes none' }]))
  assert.deepEqual([value(both, name, eth0), value(both, name, br0)], [1, 1])
  const one = await scrape(told([{ ...eth0, mode: 'none' }]))
  assert.deepEqual([value(one, name, eth0), value(one, name, br0)], [undefined, undefined])
  assert.equal(value(one, name, { ...eth0, mode: 'none' }), 1)
  assert.equal(value(await scrape(told([])), name, eth0), undefined)
})

test('what was done in front of the kernel only grows, also when another program counts from zero', async () => {
  const status = await memoryViews().status()
  const answer = createMetrics(() => ({ count: 0, errors: 0, lastMs: 0, lostLogLines: 0, failures: new Map() }))
  const scrape = async (handedOn: number): Promise<readonly (number | undefined)[]> => {
    const interfaces: Accelerated = [
      { interface: 'eth0', mode: 'native', packets: { handedOn, answered: 2, dropped: 5 } },
    ]
    const datapath = { ...status.datapath, acceleration: { wanted: 'native' as const, interfaces } }
    const families = parseExposition(await answer({ ...memoryViews(), status: async () => ({ ...status, datapath }) }))
    return ['handed_on', 'answered', 'dropped'].map((action) =>
      value(families, 'herald_datapath_xdp_packets_total', { interface: 'eth0', action }),
    )
  }
  assert.deepEqual(await scrape(70), [70, 2, 5])
  assert.deepEqual(await scrape(70), [70, 2, 5])
  assert.deepEqual(await scrape(3), [73, 2, 5])
})
