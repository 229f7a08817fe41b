/**
 * Real maps that are full: the kernel's refusal is ERR_MAP_FULL, changes nothing, and the room that others leave is
 * usable.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Frontend } from '../../src/desired/model.ts'
import { HeraldError } from '../../src/errors.ts'
import { frontendOf, kernelFixture, smallMaps, whyNoKernel } from './fixture.ts'

const reason = whyNoKernel()

const cases: readonly (readonly [string, number, (i: number) => Frontend, { readonly addresses?: number }])[] = [
  ['addresses', 16, (i) => frontendOf(`10.0.0.${i}`, 80, []), { addresses: 16 }],
  ['frontends', smallMaps.frontends, (i) => frontendOf('10.0.0.1', 1000 + i, []), {}],
  [
    'backends',
    smallMaps.backends / 8,
    (i) =>
      frontendOf(
        `10.0.0.${i % 8}`,
        1000 + i,
        Array.from({ length: 8 }, (_, j) => ({ address: `10.1.${i}.${j + 1}`, port: 8080 })),
      ),
    {},
  ],
]
for (const [map, fits, frontend, room] of cases) {
  test(`the frontend that finds ${map} full is refused with ERR_MAP_FULL, the others stay, and it fits when one ` +
    `of them goes`, {
    skip: reason ?? false,
  }, (t) => {
    const datapath = kernelFixture(t).open({ drainSec: 0, maxEntries: { ...smallMaps, ...room } })
    for (let i = 0; i < fits; i++) datapath.upsert(frontend(i))
    const before = JSON.stringify(datapath.readAll())
    const more = frontend(fits)
    for (let round = 0; round < 3; round++) {
      assert.throws(
        () => datapath.upsert(more),
        (error) => error instanceof HeraldError && error.code === 'ERR_MAP_FULL',
      )
      assert.equal(JSON.stringify(datapath.readAll()), before)
    }
    assert.equal(datapath.read(more.id), undefined)
    datapath.remove(frontend(0).id)
    datapath.upsert(more)
    assert.deepEqual(datapath.read(more.id)?.backends, more.backends)
    assert.equal(datapath.readAll().length, fits)
  })
}
