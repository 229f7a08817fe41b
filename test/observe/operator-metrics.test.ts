/** Metrics of an operator over many scrapes: what is gone is gone, and what counts only grows. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createOperatorMetrics, type OperatorMetrics } from '../../src/observe/operator-metrics.ts'
import { type Family, parseExposition, value } from './exposition.ts'

const base: OperatorMetrics = {
  ...{
    version: '1.2.3',
    isLeader: false,
    isSynced: false,
    services: {},
    pools: [],
    problems: {},
    broken: 0,
    notAccepted: 0,
  },
  ...{ outcomes: {}, waiting: {}, inFlight: 0, unreadableKinds: [], droppedEvents: 0, lostLogLines: 0 },
}

function scraper(): (more: Partial<OperatorMetrics>) => Promise<ReadonlyMap<string, Family>> {
  const answer = createOperatorMetrics()
  return async (more) => parseExposition(await answer({ ...base, ...more }))
}

test('a pool or kind that is gone leaves its series, a state that fell to nothing stays as a nought', async () => {
  const scrape = scraper()
  const first = await scrape({
    pools: [{ pool: 'blue', family: 'ipv4', total: 16, used: 3 }],
    unreadableKinds: ['Service', 'Node'],
    services: { Allocated: 3, Pending: 1 },
    ...{ isLeader: true, isSynced: true },
  })
  const blue = { pool: 'blue', family: 'ipv4' }
  assert.equal(value(first, 'herald_operator_pool_addresses_used', blue), 3)
  assert.equal(value(first, 'herald_operator_leader', {}), 1)
  const second = await scrape({ unreadableKinds: ['Node'], services: { Allocated: 4, Pending: 0 } })
  assert.equal(value(second, 'herald_operator_pool_addresses_used', blue), undefined)
  assert.equal(value(second, 'herald_operator_pool_addresses', blue), undefined)
  assert.equal(value(second, 'herald_operator_kind_unreadable', { kind: 'Service' }), undefined)
  assert.equal(value(second, 'herald_operator_kind_unreadable', { kind: 'Node' }), 1)
  assert.equal(value(second, 'herald_operator_services', { state: 'Pending' }), 0)
  assert.deepEqual(
    ['leader', 'synced'].map((name) => value(second, `herald_operator_${name}`, {})),
    [0, 0],
  )
})

test('a name that somebody chose for a pool breaks no line, whatever is in it', async () => {
  const pool = 'a"b\\c\nd{e="f"} 1'
  const families = await scraper()({ pools: [{ pool, family: 'ipv6', total: 1, used: 1 }] })
  assert.equal(value(families, 'herald_operator_pool_addresses', { pool, family: 'ipv6' }), 1)
})

test('writes are counted as they grow, whatever is scraped in between, and never fall', async () => {
  const count = fc.nat(50)
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ written: count, refused: count, dropped: count }), { maxLength: 8 }),
      async (steps) => {
        const scrape = scraper()
        const sum = { written: 0, refused: 0, dropped: 0 }
        for (const { written, refused, dropped } of steps) {
          sum.written += written
          sum.refused += refused
          sum.dropped += dropped
          const outcomes = { service: { written: sum.written, refused: sum.refused } }
          const families = await scrape({ outcomes, droppedEvents: sum.dropped })
          const writes = (outcome: string): number | undefined =>
            value(families, 'herald_operator_writes_total', { what: 'service', outcome })
          assert.deepEqual(
            [writes('written'), writes('refused'), value(families, 'herald_operator_events_dropped_total', {})],
            [sum.written, sum.refused, sum.dropped],
          )
        }
      },
    ),
    { numRuns: 40 },
  )
})
