/** What every datapath that serves must do, run for the fake and for the kernel. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Datapath } from '../../src/datapath/datapath.ts'
import type { Backend } from '../../src/desired/model.ts'
import { frontendOf } from './fixture.ts'

export interface Subject {
  /** A new datapath whose maps take so many addresses, 4 frontends, 8 backends and 600 table slots. */
  open(t: TestContext, addresses: number): { readonly datapath: Datapath; reopen(): Datapath }
}

const vip = '192.0.2.10'
const pods = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => ({ address: `10.1.0.${n}`, port: 8080 }))
const elsewhere: Backend = { address: '10.1.9.9', port: 8080, node: '203.0.113.2' }

export function contract(name: string, subject: Subject, skip: string | undefined): void {
  const check = (title: string, run: (datapath: Datapath, reopen: () => Datapath) => void, addresses = 12): void => {
    test(`${name}: ${title}`, { skip }, (t) => {
      const { datapath, reopen } = subject.open(t, addresses)
      run(datapath, reopen)
    })
  }
  const backendsOf = (datapath: Datapath, id = `${vip}:80/TCP`): readonly unknown[] | undefined =>
    datapath.read(id)?.backends
  const used = (datapath: Datapath): readonly number[] =>
    datapath
      .usage()
      .slice(1, 4)
      .map(({ entries }) => entries)

  check('what was written is read back, with none, one and several backends', (datapath) => {
    for (const backends of [[], pods.slice(0, 1), pods.slice(0, 2), [], pods.slice(1, 3), pods.slice(2, 3)]) {
      datapath.upsert(frontendOf(vip, 80, backends))
      assert.deepEqual(backendsOf(datapath), backends)
      assert.equal(datapath.readAll().length, 1)
    }
  })

  check('writing the same again changes nothing', (datapath) => {
    datapath.upsert(frontendOf(vip, 80, pods.slice(0, 2)))
    const before = datapath.read(`${vip}:80/TCP`)
    datapath.upsert(frontendOf(vip, 80, pods.slice(0, 2)))
    assert.deepEqual(datapath.read(`${vip}:80/TCP`), before)
    assert.deepEqual(used(datapath), [1, 2, 251])
  })

  check('backends are sorted and taken once', (datapath) => {
    datapath.upsert(
      frontendOf(vip, 80, [
        { address: '10.1.0.10', port: 1 },
        { address: '10.1.0.9', port: 2 },
        { address: '10.1.0.10', port: 1 },
      ]),
    )
    assert.deepEqual(backendsOf(datapath), [
      { address: '10.1.0.9', port: 2 },
      { address: '10.1.0.10', port: 1 },
    ])
  })

  check('frontends on one VIP are independent, and removing is idempotent', (datapath) => {
    datapath.upsert(frontendOf(vip, 80, pods.slice(0, 1)))
    datapath.upsert(frontendOf(vip, 80, pods.slice(1, 2), 'UDP'))
    datapath.remove(`${vip}:80/TCP`)
    datapath.remove(`${vip}:80/TCP`)
    datapath.remove('192.0.2.99:1/TCP')
    assert.equal(datapath.read(`${vip}:80/TCP`), undefined)
    assert.deepEqual(backendsOf(datapath, `${vip}:80/UDP`), pods.slice(1, 2))
    datapath.remove(`${vip}:80/UDP`)
    assert.deepEqual(used(datapath), [0, 0, 0])
  })

  check(
    'a full map of addresses refuses the new one and keeps the rest',
    (datapath) => {
      for (const address of ['192.0.2.1', '192.0.2.2']) datapath.upsert(frontendOf(address, 80, pods.slice(0, 1)))
      const before = used(datapath)
      assert.throws(() => datapath.upsert(frontendOf('192.0.2.3', 80, pods.slice(0, 1))), { code: 'ERR_MAP_FULL' })
      assert.equal(datapath.read('192.0.2.3:80/TCP'), undefined)
      assert.deepEqual(used(datapath), before)
      datapath.upsert(frontendOf('192.0.2.2', 81, pods.slice(0, 1)))
      datapath.remove('192.0.2.1:80/TCP')
      datapath.upsert(frontendOf('192.0.2.3', 80, pods.slice(0, 1)))
    },
    3,
  )

  check('a full map of frontends refuses the new one and keeps the rest', (datapath) => {
    for (const port of [1, 2, 3, 4]) datapath.upsert(frontendOf(vip, port, pods.slice(0, 1)))
    assert.throws(() => datapath.upsert(frontendOf(vip, 5, pods.slice(0, 1))), { code: 'ERR_MAP_FULL' })
    assert.equal(datapath.readAll().length, 4)
    datapath.upsert(frontendOf(vip, 4, pods.slice(1, 2)))
    assert.deepEqual(backendsOf(datapath, `${vip}:4/TCP`), pods.slice(1, 2))
  })

  check('too many backends are refused and the former ones stay in force', (datapath) => {
    datapath.upsert(frontendOf(vip, 80, pods.slice(0, 2)))
    const before = used(datapath)
    assert.throws(() => datapath.upsert(frontendOf(vip, 80, pods)), { code: 'ERR_MAP_FULL' })
    assert.deepEqual(backendsOf(datapath), pods.slice(0, 2))
    assert.deepEqual(used(datapath), before)
  })

  check('a table that finds no room is refused and the former backends stay in force', (datapath) => {
    datapath.upsert(frontendOf(vip, 80, pods.slice(0, 2)))
    datapath.upsert(frontendOf(vip, 81, pods.slice(0, 2)))
    const before = used(datapath)
    assert.throws(() => datapath.upsert(frontendOf(vip, 81, pods.slice(1, 3))), { code: 'ERR_MAP_FULL' })
    assert.deepEqual(backendsOf(datapath, `${vip}:81/TCP`), pods.slice(0, 2))
    assert.deepEqual(used(datapath), before)
  })

  check('both families are served; a mapped address, and a backend of the other family, is refused', (datapath) => {
    const pod = { address: 'fd00::2', port: 8080 }
    datapath.upsert(frontendOf('2001:db8::1', 80, [{ address: 'fd00::10', port: 1 }, pod]))
    datapath.upsert(frontendOf(vip, 80, pods.slice(0, 1)))
    assert.deepEqual(backendsOf(datapath, '[2001:db8::1]:80/TCP'), [pod, { address: 'fd00::10', port: 1 }])
    for (const wrong of [
      frontendOf('::ffff:192.0.2.1', 80, []),
      frontendOf('2001:db8::2', 80, pods.slice(0, 1)),
      frontendOf('192.0.2.3', 80, [pod]),
      frontendOf('2001:db8::2', 80, [{ address: '::ffff:10.1.0.1', port: 1 }]),
    ]) {
      assert.throws(() => datapath.upsert(wrong), { code: 'ERR_ADDRESS' })
      assert.equal(datapath.read(wrong.id), undefined)
    }
    assert.equal(datapath.readAll().length, 2)
  })

  check('a new process takes over exactly what the former one left', (datapath, reopen) => {
    assert.equal(datapath.status.adopted, false)
    datapath.upsert(frontendOf('192.0.2.1', 80, pods.slice(0, 2)))
    datapath.upsert(frontendOf('192.0.2.1', 53, [], 'UDP'))
    datapath.upsert(frontendOf('192.0.2.2', 80, pods.slice(3, 4)))
    datapath.remove('192.0.2.2:80/TCP')
    const [all, usage] = [datapath.readAll(), used(datapath)]
    datapath.close()
    const successor = reopen()
    assert.equal(successor.status.adopted, true)
    const byId = (a: { readonly id: string }, b: { readonly id: string }): number => (a.id < b.id ? -1 : 1)
    assert.deepEqual([...successor.readAll()].sort(byId), [...all].sort(byId))
    assert.deepEqual(used(successor), usage)
    successor.upsert(frontendOf('192.0.2.2', 80, pods.slice(3, 5)))
    assert.deepEqual(backendsOf(successor, '192.0.2.1:80/TCP'), pods.slice(0, 2))
    assert.deepEqual(backendsOf(successor, '192.0.2.2:80/TCP'), pods.slice(3, 5))
  })

  check('counters exist for what is served and only for that', (datapath) => {
    datapath.upsert(frontendOf(vip, 80, pods.slice(0, 1)))
    const none = {
      packetsIn: 0,
      bytesIn: 0,
      packetsOut: 0,
      bytesOut: 0,
      newConnections: 0,
      packetsForwarded: 0,
      bytesForwarded: 0,
    }
    assert.deepEqual(datapath.counters(`${vip}:80/TCP`), {
      ...none,
      backends: [{ backend: pods[0], ...none }],
    })
    assert.equal(datapath.counters(`${vip}:81/TCP`), undefined)
    assert.ok(Object.values(datapath.reasons()).every((packets) => packets === 0))
  })

  check('a backend on another node is read back with it, and a successor finds it there', (datapath, reopen) => {
    const here: Backend = { address: '10.1.0.1', port: 8080 }
    const there: Backend = { address: '10.1.0.2', port: 8080, node: 'fd00::2' }
    const wanted = { ...frontendOf(vip, 80, [here, there]), resting: [elsewhere] }
    datapath.upsert(wanted)
    const held = datapath.read(wanted.id)
    assert.deepEqual([held?.backends, held?.resting], [wanted.backends, [elsewhere]])
    datapath.close()
    const successor = reopen()
    assert.deepEqual(successor.read(wanted.id), held)
    // Only what is here answers from its own address.
    assert.throws(() => successor.upsert(frontendOf(here.address, 80, [])), { code: 'ERR_ADDRESS' })
    successor.upsert(frontendOf(elsewhere.address, 80, []))
  })

  check(
    'a node that gets another address keeps its backends; a pod that comes here from elsewhere is another one',
    (datapath) => {
      const id = `${vip}:80/TCP`
      for (const backends of [
        [elsewhere],
        [{ ...elsewhere, node: '203.0.113.9' }],
        [{ ...elsewhere, node: 'fd00::9' }],
        [{ address: elsewhere.address, port: elsewhere.port }],
        [elsewhere],
      ]) {
        datapath.upsert(frontendOf(vip, 80, backends))
        assert.deepEqual(backendsOf(datapath, id), backends)
      }
      assert.throws(() => datapath.upsert(frontendOf(vip, 80, [{ ...elsewhere, node: 'x' }])), {
        code: 'ERR_ADDRESS',
        message: /10\.1\.9\.9:8080 on x cannot be a backend/,
      })
      assert.deepEqual(backendsOf(datapath, id), [elsewhere])
    },
  )

  check('many that are written in a row are read back in their order, new ones and changed ones', (datapath) => {
    datapath.upsert(frontendOf(vip, 80, pods.slice(0, 1)))
    const row = [
      frontendOf(vip, 81, pods.slice(0, 2)),
      frontendOf(vip, 80, pods.slice(1, 2)),
      frontendOf('192.0.2.11', 80, []),
    ]
    const results = datapath.upsertAll(row)
    for (const [n, { id, backends }] of row.entries()) {
      const result = results[n]
      assert.deepEqual(result !== undefined && 'held' in result ? result.held : result, datapath.read(id))
      assert.deepEqual(backendsOf(datapath, id), backends)
    }
    assert.deepEqual(used(datapath), [3, 2, 251])
    assert.deepEqual(datapath.upsertAll([]), [])
    for (const { id } of row) datapath.remove(id)
    assert.deepEqual(used(datapath), [0, 0, 0])
  })

  check('of two changes of one frontend in a row the second is in force', (datapath) => {
    const results = datapath.upsertAll([
      frontendOf(vip, 80, pods.slice(0, 2)),
      frontendOf(vip, 81, pods.slice(0, 1)),
      frontendOf(vip, 80, pods.slice(2, 3)),
    ])
    assert.ok(results.every((each) => 'held' in each))
    assert.deepEqual(backendsOf(datapath), pods.slice(2, 3))
    assert.deepEqual(backendsOf(datapath, `${vip}:81/TCP`), pods.slice(0, 1))
  })

  check('one of a row that is refused keeps no other from it, and what it had stays in force', (datapath) => {
    datapath.upsert(frontendOf(vip, 80, pods.slice(0, 2)))
    const results = datapath.upsertAll([
      frontendOf(vip, 81, pods.slice(0, 1)),
      frontendOf(vip, 80, pods),
      frontendOf('::ffff:192.0.2.1', 80, []),
      frontendOf(vip, 82, pods.slice(1, 2)),
    ])
    assert.deepEqual(
      results.map((each) => ('held' in each ? 'held' : (each.error as { readonly code?: string }).code)),
      ['held', 'ERR_MAP_FULL', 'ERR_ADDRESS', 'held'],
    )
    for (const [port, backends] of [
      [80, pods.slice(0, 2)],
      [81, pods.slice(0, 1)],
      [82, pods.slice(1, 2)],
    ] as const)
      assert.deepEqual(backendsOf(datapath, `${vip}:${port}/TCP`), backends)
  })

  check('a row for which a map has too little room is written as far as there is room', (datapath) => {
    const results = datapath.upsertAll([1, 2, 3, 4, 5, 6].map((port) => frontendOf(vip, port, pods.slice(0, 1))))
    assert.deepEqual(
      results.map((each) => 'held' in each),
      [true, true, true, true, false, false],
    )
    assert.deepEqual(used(datapath).slice(0, 2), [4, 1])
    const addresses = datapath.usage()[0]?.entries
    assert.equal(addresses, 2)
    datapath.remove(`${vip}:4/TCP`)
    assert.ok(datapath.upsertAll([frontendOf(vip, 5, pods.slice(1, 2))]).every((each) => 'held' in each))
  })

  check('nodes are replaced as a whole, and a successor knows them', (datapath, reopen) => {
    const entries = (of: Datapath): number | undefined => of.usage().find(({ name }) => name === 'nodes')?.entries
    const others = ['203.0.113.2', 'fd00::2', '203.0.113.3']
    datapath.setNodes({ own: ['203.0.113.1', 'fd00::1'], others })
    datapath.setNodes({ own: ['203.0.113.1', 'fd00::1'], others })
    assert.equal(entries(datapath), 3)
    datapath.setNodes({ own: ['203.0.113.1'], others: [...others.slice(1), '203.0.113.4'] })
    assert.equal(entries(datapath), 3)
    assert.throws(() => datapath.upsert(frontendOf('203.0.113.1', 80, [])), {
      code: 'ERR_ADDRESS',
      message: /203\.0\.113\.1 is an address of this node/,
    })
    // It was its own a moment ago.
    datapath.upsert(frontendOf('fd00::1', 80, []))
    datapath.close()
    const successor = reopen()
    assert.equal(entries(successor), 3)
    assert.throws(() => successor.upsert(frontendOf('203.0.113.1', 80, [])), { code: 'ERR_ADDRESS' })
    successor.setNodes({ own: [], others: [] })
    assert.equal(entries(successor), 0)
    successor.upsert(frontendOf('203.0.113.1', 80, []))
  })

  check('nodes that cannot be are refused, and those that are known stay', (datapath) => {
    datapath.upsert(frontendOf(vip, 80, []))
    datapath.setNodes({ own: ['203.0.113.1'], others: ['203.0.113.2'] })
    for (const [nodes, message] of [
      [{ own: [vip], others: [] }, /192\.0\.2\.10 is a served address/],
      [{ own: ['203.0.113.1', '203.0.113.9'], others: [] }, /cannot both be the address of this node/],
      [{ own: ['203.0.113.1'], others: ['x'] }, /x is no address that a node can have/],
      [{ own: ['::ffff:203.0.113.1'], others: [] }, /no address that a node can have/],
    ] as const)
      assert.throws(() => datapath.setNodes(nodes), { code: 'ERR_ADDRESS', message })
    assert.equal(datapath.usage().find(({ name }) => name === 'nodes')?.entries, 1)
    assert.throws(() => datapath.upsert(frontendOf('203.0.113.1', 80, [])), { code: 'ERR_ADDRESS' })
  })
}
