/** Of pools that overlap the oldest one that gives is found, whatever the others are, and in a time that n allows. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { overlaps } from '../../src/allocation/intervals.ts'
import { noPriority, type AddressRange, type Pool } from '../../src/allocation/pool-table.ts'
import { Reserved } from '../../src/allocation/reserved.ts'
import { ObjectStore } from '../../src/k8s/translate/store.ts'
import { poolsOf } from '../../src/k8s/translate/pools.ts'
import { planPools } from '../../src/k8s/dialects/pools.ts'
import { ipPool } from './metallb-manifests.ts'
import { readDocuments } from '../../src/k8s/documents.ts'

const range = fc
  .record({ family: fc.constantFrom('ipv4' as const, 'ipv6' as const), first: fc.nat(60), length: fc.nat(8) })
  .map(({ family, first, length }): AddressRange => {
    const start = 0x0a000000n + BigInt(first)
    return { family, first: start, last: start + BigInt(length), sparesEnds: false }
  })
const somePools = fc.array(fc.record({ ranges: fc.array(range, { maxLength: 3 }), isClosed: fc.boolean() }), {
  maxLength: 25,
})

test('whichever pools there are, who is closed and in favour of whom is what a look at all of them says', () => {
  fc.assert(
    fc.property(somePools, (parts) => {
      const planned = parts.map(({ ranges, isClosed }, index) => ({
        from: stored(index),
        path: ['spec'],
        pool: poolOf(`p${index}`, ranges, isClosed ? 'disabled' : undefined),
      }))
      const { pools } = poolsOf(planned, new Reserved())
      const open: Pool[] = []
      for (const [index, { pool }] of planned.entries()) {
        const other =
          pool.closed === undefined
            ? open.find((each) => each.ranges.some((own) => pool.ranges.some((its) => overlaps(own, its))))
            : undefined
        if (pool.closed === undefined && other === undefined) open.push(pool)
        const expected = other === undefined ? pool.closed : `in conflict with pool ${other.name}`
        assert.equal(pools[index]?.closed, expected)
      }
    }),
  )
})

function poolOf(name: string, ranges: readonly AddressRange[], closed: string | undefined): Pool {
  const shape = { kind: 'Pool', labels: {}, selectors: [], autoAssign: true, priority: noPriority }
  return { ...shape, name, ranges, ...(closed === undefined ? {} : { closed }) }
}

const template = (() => {
  const store = new ObjectStore()
  for (const { objects } of readDocuments('test.yaml', ipPool('a', 'addresses: [10.0.0.0/8]')))
    for (const { key, object, origin } of objects) store.upsert(key, object, origin)
  const [found] = planPools(store.objects)
  if (found === undefined) throw new TypeError('there is no pool')
  return found.from
})()

const stored = (index: number) => ({ ...template, key: { ...template.key, name: `p${index}` } })
