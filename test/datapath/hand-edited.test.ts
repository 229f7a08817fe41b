/**
 * Whatever somebody else writes into the maps, word by word: who reads them goes on, what is wanted is in force again
 * with its next write, and a process that starts with it starts.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeDatapath, type FakeDatapath } from '../../src/datapath/fake.ts'
import { mapShapes, sizes } from '../../src/datapath/layout.ts'
import { MemoryMaps } from '../../src/datapath/memory-maps.ts'
import type { MemoryName, StoreName } from '../../src/datapath/maps.ts'
import type { ClusterNodes } from '../../src/datapath/datapath.ts'
import type { Backend, Frontend } from '../../src/desired/model.ts'
import { isHeld } from '../../src/reconcile/frontends.ts'
import { messageOf } from '../../src/errors.ts'
import { frontendOf } from './fixture.ts'

const second = 1_000_000_000n
const drainNs = 30n * second
const vip = '192.0.2.10'
const pods = (...numbers: readonly number[]): readonly Backend[] =>
  numbers.map((n) => ({ address: `10.1.0.${n}`, port: 8080 }))
const nodes: ClusterNodes = { own: ['203.0.113.1', '2001:db8::1'], others: ['203.0.113.2', '203.0.113.3'] }

const wanted: readonly Frontend[] = [
  frontendOf(vip, 80, pods(1)),
  { ...frontendOf(vip, 81, pods(1, 2, 3)), resting: pods(4) },
  { ...frontendOf('192.0.2.11', 80, pods(2, 3)), affinitySec: 600 },
  {
    ...frontendOf('192.0.2.12', 53, [...pods(5), { address: '10.1.1.9', port: 53, node: '203.0.113.2' }], 'UDP'),
    sources: [
      { prefix: '198.51.100.0/24', isAllowed: true },
      { prefix: '198.51.100.7/32', isAllowed: false },
    ],
  },
  frontendOf('2001:db8:2::10', 443, [{ address: 'fd00::5', port: 8443 }]),
  frontendOf('192.0.2.13', 80, []),
]

class World {
  nowNs = 10n * second
  readonly maps = new MemoryMaps({
    ...{ addresses: 64, frontends: 16, backends: 32, tables: 4_096, sources: 64, ranges: 64, nodes: 16 },
    ...{ openings: 1, connections: 1, datagrams: 1, forwards: 1, fragments: 1, held: 1, holders: 1, affinity: 1 },
    ...{ counters: 16, backend_counts: 32, limits: 1, event_limits: 1 },
  })
  kernel: FakeDatapath

  constructor() {
    this.kernel = this.open()
    this.write()
  }

  open(): FakeDatapath {
    const times = { nowNs: () => this.nowNs, drainNs, settleNs: second, previousNs: 86_400n * second }
    return (this.kernel = createFakeDatapath({ maps: this.maps, times }))
  }

  write(): void {
    this.kernel.setNodes(nodes)
    for (const frontend of wanted) this.kernel.upsert(frontend)
  }

  /** What is not served as it is wanted; one that does not fit in its place has its time first, as after a removal. */
  missing(): readonly string[] {
    return wanted.filter((each) => !isHeld(each, this.kernel.read(each.id))).map(({ id }) => id)
  }
}

const written = ['frontends', 'addresses', 'sources', 'ranges', 'nodes'] as const satisfies readonly StoreName[]
const memories = ['backends', 'tables', 'tunnels'] as const satisfies readonly MemoryName[]
const garbage = [0, 0x0100_0000, 0xffff_ffff] as const

interface Edit {
  readonly what: string
  run(maps: MemoryMaps): void
}

function* editsOf(maps: MemoryMaps): Generator<Edit> {
  for (const name of written)
    for (const [entry, [key, value]] of [...maps.store(name).entries()].entries()) {
      yield { what: `${name} ${entry} deleted`, run: (to) => void to.store(name).delete(key) }
      for (let at = 0; at + 4 <= value.length; at += 4)
        for (const word of garbage) {
          const edited = value.slice()
          new DataView(edited.buffer).setUint32(at, word, true)
          yield { what: `${name} ${entry} +${at} = ${word}`, run: (to) => to.store(name).put(key, edited) }
        }
      for (let at = 0; at + 4 <= key.length; at += 4)
        for (const word of garbage.slice(1)) {
          const other = key.slice()
          new DataView(other.buffer).setUint32(at, word, true)
          // The kernel's trie takes no longer prefix than its keys have.
          if (name === 'ranges' && at === 0 && word > (mapShapes.ranges.keyBytes - 4) * 8) continue
          yield {
            what: `${name} ${entry} under the key +${at} = ${word}`,
            run: (to) => to.store(name).put(other, value),
          }
        }
    }
  for (const name of memories) {
    const size = maps.memory(name).byteLength
    const used = { backends: 10 * sizes.backend, tables: Math.min(size, 1_600 * sizes.backendRef), tunnels: size }[name]
    // Of thousands of slots that are alike some are enough.
    const step = name === 'tables' ? 4 * 89 : 4
    for (let at = 0; at + 4 <= used; at += step)
      for (const word of garbage)
        yield { what: `${name} +${at} = ${word}`, run: (to) => to.memory(name).setUint32(at, word, true) }
    yield { what: `${name} filled`, run: (to) => new Uint8Array(to.memory(name).buffer).fill(0xff) }
    yield { what: `${name} cleared`, run: (to) => new Uint8Array(to.memory(name).buffer).fill(0) }
  }
}

const edits = [...editsOf(new World().maps)]

/** Edits that came out wrong, each with what was wrong; the first few. */
function failures(run: (world: World, edit: Edit) => void): readonly string[] {
  const found: string[] = []
  let world = new World()
  for (const edit of edits) {
    try {
      run(world, edit)
    } catch (error) {
      found.push(`${edit.what}: ${messageOf(error).replaceAll('\n', ' ').slice(0, 200)}`)
      world = new World()
    }
  }
  return [`${found.length} of ${edits.length}`, ...found.slice(0, 40)]
}

test(
  'whatever somebody writes into the maps is read without an error, and what is wanted is in force after it was ' +
    'written again, also by a process that starts with it',
  () => {
    assert.ok(edits.length > 1_200)
    const found = failures((world, edit) => {
      edit.run(world.maps)
      world.missing()
      world.write()
      assert.deepEqual(world.missing(), [], 'while it runs')
      edit.run(world.maps)
      world.open()
      // What nobody wants is removed, as leftovers of an earlier process are, and what leaves has its time.
      for (const { id } of world.kernel.readAll()) if (wanted.every((each) => each.id !== id)) world.kernel.remove(id)
      for (let time = 0; time < 2; time++) {
        world.nowNs += drainNs + second
        world.write()
      }
      assert.deepEqual([world.missing(), world.maps.check()], [[], []], 'after a start')
    })
    assert.deepEqual(found, [`0 of ${edits.length}`])
  },
)
