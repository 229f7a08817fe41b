/** What the maps of the socket programs hold, over maps in memory. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HeraldError } from '../../src/errors.ts'
import { decodeAddressKey } from '../../src/datapath/address-octets.ts'
import type { MapStore } from '../../src/datapath/maps.ts'
import {
  decodePlace,
  decodeSocketFrontend,
  decodeStanding,
  encodeStanding,
  type SocketStoreName,
} from '../../src/datapath/socket-layout.ts'
import { createFakeSockets, socketMemoryMaps } from '../../src/datapath/socket-served.ts'
import { type SocketMaps, SocketTable } from '../../src/datapath/tables/sockets.ts'
import type { Backend, Frontend } from '../../src/desired/model.ts'

const place = (text: string): Backend => {
  const at = text.lastIndexOf(':')
  return { address: text.slice(0, at), port: Number(text.slice(at + 1)) }
}

function frontend(backends: readonly string[], more: Partial<Frontend> = {}): Frontend {
  const base = {
    id: '203.0.113.1:80/TCP',
    service: 'shop/web',
    address: '203.0.113.1',
    protocol: 'TCP',
    port: 80,
  } as const
  return { ...base, backends: backends.map(place), ...more }
}

/** Every entry is of a frontend: none is left over. */
function check(maps: SocketMaps): void {
  const lists = new Map(
    [...maps.store('socket_frontends').entries()].map(([, value]) => {
      const { service, table, backends } = decodeSocketFrontend(value)
      return [`${service} ${table}`, backends] as const
    }),
  )
  const found = [...maps.store('socket_backends').entries()].map(([key]) => decodePlace(key))
  for (const { service, table, index } of found)
    assert.ok(index < (lists.get(`${service} ${table}`) ?? 0), `${service} ${table} ${index} is of no list`)
  assert.equal(
    found.length,
    [...lists.values()].reduce((sum, count) => sum + count, 0),
  )
}

test('a frontend is read back as it was written: each backend once, and none that is active rests', () => {
  const maps = socketMemoryMaps()
  const table = new SocketTable(maps)
  const wanted = frontend(['10.1.1.6:80', '10.1.1.5:80', '10.1.1.5:80'], {
    resting: [place('10.1.1.7:80'), place('10.1.1.6:80')],
    affinitySec: 60,
  })
  table.upsert(wanted)
  assert.deepEqual(table.read(wanted.id), {
    id: wanted.id,
    backends: [place('10.1.1.5:80'), place('10.1.1.6:80')],
    resting: [place('10.1.1.7:80')],
    affinitySec: 60,
  })
  assert.ok(table.isHeld(wanted))
  assert.equal(table.read('203.0.113.2:80/TCP'), undefined)
  check(maps)
})

test('a frontend that is held as it is wanted costs no write', () => {
  const maps = socketMemoryMaps()
  const wanted = frontend(['10.1.1.5:80'], { resting: [place('10.1.1.6:80')] })
  new SocketTable(maps).upsert(wanted)
  const before = [...maps.store('socket_frontends').entries()]
  new SocketTable(maps).upsert(wanted)
  assert.deepEqual([...maps.store('socket_frontends').entries()], before)
})

test('other backends are another list, and nothing of the old one is left', () => {
  const maps = socketMemoryMaps()
  const table = new SocketTable(maps)
  for (const backends of [['10.1.1.5:80', '10.1.1.6:80'], [], ['10.1.1.7:80'], ['10.1.1.7:81', '10.1.1.7:80']]) {
    table.upsert(frontend(backends))
    assert.deepEqual(
      table.read('203.0.113.1:80/TCP')?.backends,
      backends.map(place).sort((a, b) => a.port - b.port),
    )
    assert.equal(maps.entries('socket_members'), backends.length)
    check(maps)
  }
})

test('one pod behind two frontends is a member of both, and stays one of the other', () => {
  const maps = socketMemoryMaps()
  const table = new SocketTable(maps)
  table.upsert(frontend(['10.1.1.5:80']))
  table.upsert(frontend(['10.1.1.5:80'], { id: '10.96.0.1:80/TCP', address: '10.96.0.1' }))
  assert.equal(maps.entries('socket_members'), 2)
  table.remove('203.0.113.1:80/TCP')
  table.remove('203.0.113.1:80/TCP')
  assert.deepEqual(table.read('10.96.0.1:80/TCP')?.backends, [place('10.1.1.5:80')])
  assert.equal(maps.entries('socket_members'), 1)
  check(maps)
})

test('what is no address, and a backend of another family, is refused by name', () => {
  const table = new SocketTable(socketMemoryMaps())
  const wrong = (wanted: Frontend, message: RegExp): void =>
    assert.throws(() => table.upsert(wanted), { code: 'ERR_ADDRESS', message })
  wrong(frontend([], { address: 'web.example' }), /^web\.example is no address/)
  wrong(frontend(['fd00::5:80']), /^fd00::5 cannot be a backend of 203\.0\.113\.1/)
  wrong(frontend([], { resting: [place('nobody:80')] }), /^nobody cannot be/)
})

/** Fails with the n-th write or removal, as a process that is killed there. */
function mortal(maps: SocketMaps, steps: number): SocketMaps {
  let left = steps
  const step = (): void => {
    if (left-- <= 0) throw new HeraldError('ERR_SYSCALL', 'killed', { errno: 'EINTR' })
  }
  return {
    store: (name: SocketStoreName): MapStore => {
      const store = maps.store(name)
      return {
        name,
        keyBytes: store.keyBytes,
        valueBytes: store.valueBytes,
        maxEntries: store.maxEntries,
        get: (key) => store.get(key),
        entries: () => store.entries(),
        used: () => store.used(),
        put: (key, value, mode) => {
          step()
          store.put(key, value, mode)
        },
        putAll: (all) => {
          for (const [key, value] of all) {
            step()
            store.put(key, value)
          }
        },
        delete: (key) => {
          step()
          return store.delete(key)
        },
      }
    },
  }
}

test('a crash at any step leaves the old backends or the new ones, and the next start puts the rest right', () => {
  const [before, after] = [
    frontend(['10.1.1.5:80', '10.1.1.6:80'], { resting: [place('10.1.1.9:80')] }),
    frontend(['10.1.1.6:80', '10.1.1.7:80'], { resting: [place('10.1.1.5:80')], affinitySec: 60 }),
  ]
  let crashes = 0
  for (let steps = 0; ; steps++) {
    const maps = socketMemoryMaps()
    new SocketTable(maps).upsert(before)
    let isOver = true
    try {
      new SocketTable(mortal(maps, steps)).upsert(after)
    } catch {
      isOver = false
      crashes++
    }
    const next = new SocketTable(maps)
    check(maps)
    const { backends = [] } = next.read(before.id) ?? {}
    assert.ok(
      [before, after].some((each) => JSON.stringify(each.backends) === JSON.stringify(backends)),
      `step ${steps}`,
    )
    next.upsert(after)
    assert.ok(next.isHeld(after), `step ${steps}`)
    assert.equal(maps.entries('socket_members'), 3)
    check(maps)
    if (isOver) break
  }
  assert.ok(crashes > 6)
})

test('a crash at any step of a removal is finished by the next start', () => {
  for (let steps = 0; steps < 5; steps++) {
    const maps = socketMemoryMaps()
    const wanted = frontend(['10.1.1.5:80', '10.1.1.6:80'])
    new SocketTable(maps).upsert(wanted)
    try {
      new SocketTable(mortal(maps, steps)).remove(wanted.id)
    } catch {
      // What the process was killed in.
    }
    const next = new SocketTable(maps)
    check(maps)
    next.remove(wanted.id)
    for (const name of ['socket_frontends', 'socket_backends', 'socket_members'] as const)
      assert.equal(maps.entries(name), 0, `step ${steps}: ${name}`)
  }
})

test('where there is no room for more a frontend has as many backends as before, all of them wanted', () => {
  for (const full of [{ socket_backends: 3 }, { socket_members: 3 }]) {
    const maps = socketMemoryMaps(full)
    const table = new SocketTable(maps)
    const before = frontend(['10.1.1.5:80'], { resting: [place('10.1.1.6:80')] })
    table.upsert(before)
    const tooMany = frontend(['10.1.1.6:80', '10.1.1.7:80', '10.1.1.8:80', '10.1.1.9:80'])
    assert.throws(() => table.upsert(tooMany), {
      code: 'ERR_MAP_FULL',
      message: /^shop\/web has 4 backends at this port, and map socket_(backends|members) has room for [1-3] more of/,
    })
    assert.deepEqual(table.read(before.id)?.backends, [place('10.1.1.6:80')])
    assert.equal(table.isHeld(tooMany), false)
    check(maps)
    const writes = [...maps.store('socket_frontends').entries()]
    assert.throws(() => table.upsert(tooMany), { code: 'ERR_MAP_FULL' })
    assert.deepEqual([...maps.store('socket_frontends').entries()], writes, 'the next time nothing is written')
    table.upsert(frontend(['10.1.1.8:80']))
    assert.deepEqual(table.read(before.id)?.backends, [place('10.1.1.8:80')])
    check(maps)
  }
})

test('where there is no room at all who is gone is taken by nobody, and who is new waits', () => {
  const maps = socketMemoryMaps({ socket_backends: 2 })
  const table = new SocketTable(maps)
  table.upsert(frontend(['10.1.1.5:80', '10.1.1.6:80']))
  const id = '203.0.113.1:80/TCP'
  assert.throws(() => table.upsert(frontend(['10.1.1.6:80', '10.1.1.7:80'])), { code: 'ERR_MAP_FULL' })
  assert.deepEqual(table.read(id)?.backends, [place('10.1.1.6:80')])
  assert.equal(maps.entries('socket_members'), 1)
  const next = new SocketTable(maps)
  assert.deepEqual(next.read(id)?.backends, [place('10.1.1.6:80')])
  table.remove(id)
  for (const name of ['socket_backends', 'socket_members'] as const) assert.equal(maps.entries(name), 0)
})

test('a new frontend gets nothing of the room that lists need that are replaced', () => {
  const maps = socketMemoryMaps({ socket_backends: 32 })
  const table = new SocketTable(maps)
  const named = (port: number, count: number, first = 1): Frontend =>
    frontend(
      Array.from({ length: count }, (_, i) => `10.1.${port}.${first + i}:80`),
      { id: `203.0.113.1:${port}/TCP`, port },
    )
  for (let port = 80; port < 95; port++) table.upsert(named(port, 2))
  assert.throws(() => table.upsert(named(95, 1)), { code: 'ERR_MAP_FULL', message: /room for 0 more of its 32/ })
  assert.equal(table.ids().includes('203.0.113.1:95/TCP'), false)
  for (let port = 80; port < 95; port++) {
    table.upsert(named(port, 2, 7))
    assert.ok(table.isHeld(named(port, 2, 7)))
  }
  table.upsert(named(80, 1, 7))
  table.upsert(named(95, 1))
  check(maps)
})

test('how often a backend was chosen stays with it, and with its frontend when it is gone', () => {
  const maps = socketMemoryMaps()
  const table = new SocketTable(maps)
  const id = '203.0.113.1:80/TCP'
  table.upsert(frontend(['10.1.1.5:80', '10.1.1.6:80']))
  // As the programs count.
  for (const [key, value] of maps.store('socket_members').entries())
    maps.store('socket_members').put(key, encodeStanding({ ...decodeStanding(value), chosen: 7n }))
  table.upsert(frontend(['10.1.1.6:80', '10.1.1.7:80'], { resting: [place('10.1.1.5:80')] }))
  assert.deepEqual(table.choices(id), {
    chosen: 14,
    backends: [
      { ...place('10.1.1.5:80'), state: 'resting', chosen: 7 },
      { ...place('10.1.1.6:80'), state: 'active', chosen: 7 },
      { ...place('10.1.1.7:80'), state: 'active', chosen: 0 },
    ],
  })
  table.upsert(frontend(['10.1.1.7:80']))
  assert.deepEqual(table.choices(id), {
    chosen: 14,
    backends: [{ ...place('10.1.1.7:80'), state: 'active', chosen: 0 }],
  })
  assert.equal(table.choices('203.0.113.9:80/TCP'), undefined)
})

test('ids of Services are not used again while anything is held, also by the next process', () => {
  const maps = socketMemoryMaps()
  const idsOf = (): readonly number[] =>
    [...maps.store('socket_frontends').entries()].map(([, value]) => decodeSocketFrontend(value).service).sort()
  const named = (port: number): Frontend => frontend(['10.1.1.5:80'], { id: `203.0.113.1:${port}/TCP`, port })
  const table = new SocketTable(maps)
  for (const port of [80, 81]) table.upsert(named(port))
  table.remove('203.0.113.1:80/TCP')
  const next = new SocketTable(maps)
  next.upsert(named(82))
  assert.equal(new Set(idsOf()).size, 2)
  assert.deepEqual([...next.ids()].sort(), ['203.0.113.1:81/TCP', '203.0.113.1:82/TCP'])
})

test('the balancer in memory reads back what it writes, and says how full its maps are', () => {
  const balancer = createFakeSockets()
  balancer.upsert(frontend(['10.1.1.5:80', '10.1.1.6:80']))
  assert.deepEqual(balancer.ids(), ['203.0.113.1:80/TCP'])
  assert.deepEqual(balancer.counts(), { translated: 0, refused: 0, unrecorded: 0 })
  const fill = Object.fromEntries(balancer.usage().map(({ name, entries }) => [name, entries]))
  assert.deepEqual([fill['socket_frontends'], fill['socket_backends'], fill['socket_affinity']], [1, 2, 0])
  balancer.remove('203.0.113.1:80/TCP')
  assert.deepEqual(balancer.ids(), [])
})

test('of addresses of other nodes exactly those are held that were told last, also by the next process', () => {
  const maps = socketMemoryMaps({ socket_nodes: 3 })
  const held = (): readonly string[] =>
    [...maps.store('socket_nodes').entries()].map(([key]) => decodeAddressKey(key)).sort()
  new SocketTable(maps).setNodes(['192.0.2.1', '2001:db8::1', 'nobody', '192.0.2.1'])
  assert.deepEqual(held(), ['192.0.2.1', '2001:db8::1'])
  const table = new SocketTable(maps)
  table.setNodes(['2001:db8::1', '192.0.2.2', '192.0.2.3'])
  assert.deepEqual(held(), ['192.0.2.2', '192.0.2.3', '2001:db8::1'])
  const usage = table.usage().find(({ name }) => name === 'socket_nodes')
  assert.deepEqual([usage?.entries, usage?.maxEntries], [3, 3])
  // What went is gone although not all that came has room.
  assert.throws(() => table.setNodes(['192.0.2.4', '192.0.2.5', '192.0.2.6', '192.0.2.7']), { code: 'ERR_MAP_FULL' })
  assert.ok(!held().includes('2001:db8::1') && held().length === 3)
  table.setNodes([])
  assert.deepEqual(held(), [])
})

test('a backend of a weight is in the list as often as that, and a new weight is another list', () => {
  const maps = socketMemoryMaps()
  const weighed = (...weights: readonly number[]): Frontend => ({
    ...frontend([]),
    backends: weights.map((weight, n) => ({ ...place(`10.1.1.${n + 1}:80`), weight })),
  })
  const listed = (): readonly number[] => {
    const counts = new Map<string, number>()
    for (const [, value] of maps.store('socket_backends').entries())
      counts.set(value.join(), (counts.get(value.join()) ?? 0) + 1)
    return [...counts.values()].sort((a, b) => a - b)
  }
  for (const [weights, counts] of [
    [
      [2, 6],
      [1, 3],
    ],
    [
      [2, 4, 6],
      [1, 2, 3],
    ],
    [
      [1, 100],
      [1, 63],
    ],
    [
      [7, 7],
      [1, 1],
    ],
  ] as const) {
    const table = new SocketTable(maps)
    const wanted = weighed(...weights)
    assert.ok(!table.isHeld(wanted))
    table.upsert(wanted)
    assert.ok(table.isHeld(wanted))
    assert.deepEqual(listed(), counts)
    check(maps)
    assert.ok(new SocketTable(maps).isHeld(wanted), 'also by who finds it')
  }
})

test('where a list by weights finds no room the backends are in it once each', () => {
  const maps = socketMemoryMaps({ socket_backends: 32 })
  const table = new SocketTable(maps)
  const backends = ['10.1.1.1:80', '10.1.1.2:80']
  table.upsert(frontend(backends))
  const weighed = {
    ...frontend([]),
    backends: backends.map((text, n) => ({ ...place(text), weight: n === 0 ? 1 : 90 })),
  }
  assert.throws(
    () => table.upsert(weighed),
    (error) => error instanceof HeraldError && error.code === 'ERR_MAP_FULL',
  )
  assert.deepEqual(table.read(weighed.id)?.backends, backends.map(place))
  assert.equal(maps.entries('socket_backends'), 2)
  check(maps)
})
