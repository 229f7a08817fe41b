import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMetrics } from '../../src/observe/metrics.ts'
import { memoryViews } from '../api/memory-views.ts'
import { parseExposition } from './exposition.ts'

test('two neighbors at one address share a BFD session, which counts once where the address is the only label', async () => {
  const [first, ...others] = await memoryViews().peers()
  assert.ok(first !== undefined)
  const second = { ...first, id: '65009/192.0.2.1', localAsn: 65_009, virtualRouter: 'other' }
  const scrape = createMetrics(() => ({ count: 0, errors: 0, lastMs: 0, lostLogLines: 0, failures: new Map() }), true)
  for (let round = 0; round < 2; round++) {
    const text = await scrape({ ...memoryViews(), peers: async () => [first, second, ...others] })
    const families = parseExposition(text)
    assert.deepEqual(
      families.get('metallb_bfd_control_packet_input')?.samples.map(({ value }) => value),
      [first.bfd?.packetsIn],
    )
    assert.equal(families.get('herald_bfd_control_packets_received_total')?.samples.length, 2)
  }
})
