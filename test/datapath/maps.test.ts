/** The seam itself: what every map does, in memory and in the kernel. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { createFakeDatapath } from '../../src/datapath/fake.ts'
import { KernelMaps } from '../../src/datapath/kernel-maps.ts'
import { decodeAddressKey, encodeAddressKey } from '../../src/datapath/address-octets.ts'
import { decodeRangeKey, encodeRangeKey, mapNames, mapShapes, offsets, sizes } from '../../src/datapath/layout.ts'
import { indexKey, indexOf, type Maps, type MapStore } from '../../src/datapath/maps.ts'
import { MemoryMaps } from '../../src/datapath/memory-maps.ts'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { BpfObject } from '../../src/sys/bpf.ts'
import { frontendOf, smallMaps, whyNoKernel } from './fixture.ts'

const maxEntries = { ...smallMaps, addresses: 3 }

function kernelMaps(t: TestContext): Maps {
  const object = new BpfObject(buildBpf())
  for (const name of mapNames) {
    const entries = (maxEntries as Readonly<Partial<Record<string, number>>>)[name]
    if (entries !== undefined) object.setMaxEntries(name, entries)
  }
  object.load()
  const maps = new KernelMaps(object)
  t.after(() => maps.close())
  return maps
}

const key = (last: number): Uint8Array => encodeAddressKey(`192.0.2.${last}`) ?? new Uint8Array()
const value = (first: number): Uint8Array => Uint8Array.from({ length: sizes.address }, (_, i) => (i === 0 ? first : 0))
const sorted = (store: MapStore): string[] =>
  [...store.entries()].map(([k, v]) => `${decodeAddressKey(k)}=${v[0]}`).sort()

for (const [name, open, skip] of [
  ['in memory', () => new MemoryMaps(maxEntries), undefined],
  ['in the kernel', kernelMaps, whyNoKernel()],
] as const) {
  const check = (title: string, run: (maps: Maps) => void): void => {
    test(`maps ${name}: ${title}`, { skip }, (t) => run(open(t)))
  }

  check('what is put is got, listed and counted, as a copy', (maps) => {
    const addresses = maps.store('addresses')
    const written = value(7)
    addresses.put(key(1), written)
    written[0] = 9
    assert.deepEqual(addresses.get(key(1)), value(7))
    addresses.put(key(2), value(2))
    assert.deepEqual(sorted(addresses), ['192.0.2.1=7', '192.0.2.2=2'])
    assert.deepEqual([addresses.used(), addresses.maxEntries, addresses.keyBytes, addresses.valueBytes], [2, 3, 16, 16])
  })

  check('deleting says whether there was something', (maps) => {
    const addresses = maps.store('addresses')
    addresses.put(key(1), value(1))
    assert.deepEqual(
      [addresses.delete(key(1)), addresses.delete(key(1)), addresses.get(key(1)), addresses.used()],
      [true, false, undefined, 0],
    )
  })

  check(
    'a full map takes no new key (E2BIG), but a new value of one that it has, and a new key after a deletion',
    (maps) => {
      const addresses = maps.store('addresses')
      for (const last of [1, 2, 3]) addresses.put(key(last), value(last))
      assert.throws(() => addresses.put(key(4), value(4)), { code: 'ERR_MAP_FULL', errno: 'E2BIG' })
      assert.deepEqual(sorted(addresses), ['192.0.2.1=1', '192.0.2.2=2', '192.0.2.3=3'])
      addresses.put(key(3), value(9))
      addresses.delete(key(1))
      addresses.put(key(4), value(4))
      assert.deepEqual(sorted(addresses), ['192.0.2.2=2', '192.0.2.3=9', '192.0.2.4=4'])
    },
  )

  check('a put that asks for a new key finds EEXIST, one that asks for an old key finds ENOENT', (maps) => {
    const addresses = maps.store('addresses')
    assert.throws(() => addresses.put(key(1), value(1), 'existing'), { code: 'ERR_SYSCALL', errno: 'ENOENT' })
    addresses.put(key(1), value(1), 'new')
    assert.throws(() => addresses.put(key(1), value(2), 'new'), { code: 'ERR_SYSCALL', errno: 'EEXIST' })
    addresses.put(key(1), value(3), 'existing')
    assert.deepEqual(addresses.get(key(1)), value(3))
  })

  check('keys and values of another size are refused before anything is read or written', (maps) => {
    const addresses = maps.store('addresses')
    const short = new Uint8Array(3)
    for (const call of [
      () => addresses.get(short),
      () => addresses.put(short, value(1)),
      () => addresses.put(key(1), short),
      () => addresses.put(key(1), new Uint8Array(9)),
      () => addresses.delete(new Uint8Array(5)),
    ])
      assert.throws(call, { code: 'ERR_SYSCALL', errno: 'EINVAL' })
    assert.equal(addresses.used(), 0)
  })

  check('many are put in their order, the last of one key stays, and none is no call', (maps) => {
    const addresses = maps.store('addresses')
    addresses.putAll([])
    addresses.put(key(2), value(9))
    const written = value(1)
    addresses.putAll([
      [key(1), written],
      [key(2), value(2)],
      [key(1), value(3)],
    ])
    written[0] = 7
    assert.deepEqual(sorted(addresses), ['192.0.2.1=3', '192.0.2.2=2'])
    const limits = maps.store('limits')
    const one = new Uint8Array(limits.valueBytes).fill(1)
    limits.putAll([4, 5, 6].map((index) => [indexKey(index), one]))
    assert.deepEqual(
      [4, 5, 6, 7].map((index) => limits.get(indexKey(index))?.[0]),
      [1, 1, 1, 0],
    )
    const ranges = maps.store('ranges')
    const list = Array.from({ length: 300 }, (_, n) => `10.${n >> 8}.${n & 255}.0/24`)
    ranges.putAll(list.map((prefix, n) => [encodeRangeKey({ set: 7, prefix }) ?? new Uint8Array(), indexKey(n)]))
    assert.equal(ranges.used(), 300)
    for (const [n, prefix] of list.entries())
      assert.equal(indexOf(ranges.get(encodeRangeKey({ set: 7, prefix }) ?? new Uint8Array()) ?? indexKey(999)), n)
  })

  check(
    'of many of which one is refused all before it are written and none behind it, and it says how many',
    (maps) => {
      const addresses = maps.store('addresses')
      const put = (...last: number[]): void => addresses.putAll(last.map((each) => [key(each), value(each)]))
      put(1)
      assert.throws(() => put(2, 3, 1, 4, 5), { code: 'ERR_MAP_FULL', errno: 'E2BIG', written: 3 })
      assert.deepEqual(sorted(addresses), ['192.0.2.1=1', '192.0.2.2=2', '192.0.2.3=3'])
      assert.throws(() => put(4), { code: 'ERR_MAP_FULL', errno: 'E2BIG', written: 0 })
      assert.throws(() => put(3, 4), { code: 'ERR_MAP_FULL', written: 1 })
      assert.throws(
        () =>
          addresses.putAll([
            [key(1), value(9)],
            [key(2), new Uint8Array(3)],
          ]),
        { errno: 'EINVAL' },
      )
      assert.deepEqual(sorted(addresses)[0], '192.0.2.1=1', 'a wrong size is found before anything is written')
      const ranges = maps.store('ranges')
      const endless = encodeRangeKey({ set: 7, prefix: '10.0.0.0/8' }) ?? new Uint8Array()
      endless[0] = 161
      const good = ['10.1.0.0/16', '10.2.0.0/16'].map(
        (prefix) => encodeRangeKey({ set: 7, prefix }) ?? new Uint8Array(),
      )
      const [first = endless, second = endless] = good
      assert.throws(() => ranges.putAll([first, endless, second].map((each) => [each, indexKey(1)])), {
        code: 'ERR_SYSCALL',
        errno: 'EINVAL',
        written: 1,
      })
      assert.equal(ranges.used(), 1)
    },
  )

  check('of an array every entry exists: none is new, none can be deleted, none lies behind its end', (maps) => {
    const limits = maps.store('limits')
    const written = new Uint8Array(limits.valueBytes).fill(1)
    assert.equal(limits.maxEntries, mapShapes.limits.maxEntries)
    assert.ok(limits.get(indexKey(5))?.every((octet) => octet === 0))
    limits.put(indexKey(5), written)
    assert.deepEqual(limits.get(indexKey(5)), written)
    assert.throws(() => limits.put(indexKey(5), written, 'new'), { errno: 'EEXIST' })
    assert.throws(() => limits.delete(indexKey(5)), { errno: 'EINVAL' })
    assert.equal(limits.get(indexKey(limits.maxEntries)), undefined)
    assert.throws(() => limits.put(indexKey(limits.maxEntries), written), { code: 'ERR_MAP_FULL' })
  })

  check('a trie finds the longest prefix that holds the key, and every entry in a walk', (maps) => {
    const ranges = maps.store('ranges')
    const at = (prefix: string, set = 7): Uint8Array => encodeRangeKey({ set, prefix }) ?? assert.fail(prefix)
    const list = ['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.3/32', 'fd00::/8']
    for (const [n, prefix] of list.entries()) ranges.put(at(prefix), indexKey(n + 1))
    const found = (prefix: string, set?: number): number => indexOf(ranges.get(at(prefix, set)) ?? indexKey(0))
    assert.deepEqual(
      ['10.1.2.3/32', '10.1.2.4/32', '10.2.0.0/32', '11.0.0.0/32'].map((each) => found(each)),
      [4, 3, 2, 1],
    )
    assert.deepEqual(
      ['10.0.0.0/8', '10.0.0.0/7', 'fd12::1/128', 'fe00::1/128'].map((each) => found(each)),
      [2, 1, 5, 0],
    )
    assert.equal(found('10.1.2.3/32', 8), 0, 'of another set')
    assert.ok(ranges.delete(at('10.1.0.0/16')))
    assert.equal(ranges.delete(at('10.1.0.0/16')), false)
    assert.equal(found('10.1.2.4/32'), 2)
    const walked = [...ranges.entries()].map(([key]) => decodeRangeKey(key))
    assert.deepEqual(
      walked.map(({ prefix }) => prefix).sort(),
      list.filter((prefix) => prefix !== '10.1.0.0/16').sort(),
    )
    assert.deepEqual([ranges.used(), new Set(walked.map(({ set }) => set))], [4, new Set([7])])
    const endless = at('10.0.0.0/8')
    endless[0] = 161
    assert.throws(() => ranges.put(endless, indexKey(1)), { errno: 'EINVAL' })
  })

  check('memory that is shared has the size of its map, and stays the same', (maps) => {
    const backends = maps.memory('backends')
    assert.equal(backends.byteLength, smallMaps.backends * sizes.backend)
    backends.setUint32(sizes.backend, 0xdeadbeef)
    assert.equal(maps.memory('backends').getUint32(sizes.backend), 0xdeadbeef)
    assert.equal(maps.memory('tables').byteLength, smallMaps.tables * sizes.backendRef)
  })
}

test('a dump says what the maps hold, one line each', () => {
  const datapath = createFakeDatapath()
  datapath.upsert(
    frontendOf('192.0.2.10', 80, [
      { address: '10.1.0.2', port: 1 },
      { address: '10.1.0.1', port: 2 },
    ]),
  )
  datapath.upsert(frontendOf('192.0.2.10', 53, [], 'UDP'))
  assert.equal(
    datapath.maps.dump(),
    'frontend 192.0.2.10:53/UDP -> nothing\n' +
      'frontend 192.0.2.10:80/TCP -> 10.1.0.1:2 10.1.0.2:1\n' +
      'vip 192.0.2.10 frontends 2',
  )
  assert.deepEqual(datapath.maps.check(), [])
})

test('a check finds what does not fit together', () => {
  const fresh = (): MemoryMaps => {
    const datapath = createFakeDatapath()
    for (const port of [80, 81])
      datapath.upsert(
        frontendOf(
          '192.0.2.10',
          port,
          [1, 2].map((n) => ({ address: `10.1.0.${n}`, port })),
        ),
      )
    return datapath.maps
  }
  const frontends = (maps: MemoryMaps): readonly (readonly [Uint8Array, Uint8Array])[] => [
    ...maps.store('frontends').entries(),
  ]
  const damages: readonly (readonly [RegExp, (maps: MemoryMaps) => void])[] = [
    [/192\.0\.2\.10 has frontends and is no VIP/, (maps) => maps.store('addresses').delete(key(10))],
    [/counts 5 frontends, 2 exist/, (maps) => maps.store('addresses').put(key(10), value(5))],
    [/counts 1 frontends, 0 exist/, (maps) => maps.store('addresses').put(key(99), value(1))],
    [
      /names backend 0\.1, which is not there/,
      (maps) => maps.memory('backends').setUint32(offsets.backend.generation, 77, true),
    ],
    [
      /service id \d+ is used by .*:80\/TCP, .*:81\/TCP/,
      (maps) => {
        const [[key80] = [], [, value81] = []] = frontends(maps)
        if (key80 !== undefined && value81 !== undefined) maps.store('frontends').put(key80, value81)
      },
    ],
    [
      /ends behind the map/,
      (maps) => {
        for (const [at, held] of frontends(maps)) {
          new DataView(held.buffer).setUint32(20, 1 << 20, true)
          maps.store('frontends').put(at, held)
        }
      },
    ],
  ]
  for (const [words, damage] of damages) {
    const maps = fresh()
    assert.deepEqual(maps.check(), [])
    damage(maps)
    assert.match(maps.check().join('\n'), words)
  }
})
