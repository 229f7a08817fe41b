/** Pieces of schemas that all kinds share. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { canonicalTime } from '../../src/k8s/kinds/schemas.ts'

/** By the engine alone, without anything remembered. */
function byEngine(text: string): string | undefined {
  const isTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text)
  const ms = isTime ? Date.parse(text) : Number.NaN
  return Number.isNaN(ms) ? undefined : `${new Date(ms).toISOString().slice(0, 19)}Z`
}

const digits = (max: number): fc.Arbitrary<string> =>
  fc.integer({ min: 0, max }).map((value) => String(value).padStart(2, '0'))
const written = fc
  .tuple(fc.integer({ min: 1900, max: 2100 }), digits(13), digits(32), digits(25), digits(61), digits(61))
  .chain(([year, month, day, hour, minute, second]) =>
    fc
      .constantFrom('Z', '.5Z', '+01:00', '-11:30', '', ' ', '+25:00')
      .map((zone) => `${year}-${month}-${day}T${hour}:${minute}:${second}${zone}`),
  )

test('a time is what the engine makes of it in UTC, whatever was asked before and however often', () => {
  fc.assert(
    fc.property(fc.array(written, { minLength: 1, maxLength: 5 }), (texts) => {
      for (const text of texts) for (const _ of [1, 2]) assert.equal(canonicalTime(text), byEngine(text), text)
    }),
    { numRuns: 2_000 },
  )
})

test('days, hours and seconds that there are not, or not always, come out as the engine has them', () => {
  for (const text of [
    ...['2026-02-28T23:59:59Z', '2026-02-29T00:00:00Z', '2024-02-29T00:00:00Z', '2026-02-30T00:00:00Z'],
    ...['2026-04-31T00:00:00Z', '2026-01-31T24:00:00Z', '2026-01-01T24:00:01Z', '2026-12-31T23:59:60Z'],
    ...['2026-00-01T00:00:00Z', '2026-13-01T00:00:00Z', '2026-01-00T00:00:00Z', '', 'last year'],
  ])
    assert.equal(canonicalTime(text), byEngine(text), text)
})
