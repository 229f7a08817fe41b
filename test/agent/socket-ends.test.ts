import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { Faults } from '../../src/agent/faults.ts'
import { SocketEnds } from '../../src/agent/socket-ends.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { LedSocket, SocketBalancer } from '../../src/datapath/datapath.ts'
import { HeraldError } from '../../src/errors.ts'

const frontend = { address: '10.96.0.10', port: 53 }
const led = (address: string, protocol: LedSocket['protocol'] = 'UDP'): LedSocket => ({
  protocol,
  frontend,
  backend: { address, port: 53 },
})
const node = 'node'

interface World {
  readonly ends: SocketEnds
  readonly clock: VirtualClock
  readonly faults: Faults
  /** Sockets by their network; {@link node}: that of the node. */
  readonly sockets: Map<string, LedSocket[]>
  /** Backends that their frontends have. */
  readonly wanted: Set<string>
  /** Backends that slices name. */
  readonly named: Set<string>
  /** What asking for the sockets of a network comes to in their place. */
  readonly failing: Map<string, Error>
  /** Networks in the order in which they were asked. */
  readonly asked: string[]
  /** `of`: what is answered in parts, whoever is asked. */
  readonly parts: { of?: () => Iterable<number>; turnMs: number }
}

function world(protocols: readonly LedSocket['protocol'][] = ['UDP'], hasPods = true): World {
  const clock = new VirtualClock()
  const faults = new Faults(clock, new MemoryLog())
  const sockets = new Map<string, LedSocket[]>([[node, []]])
  const [wanted, named] = [new Set<string>(), new Set<string>()]
  const failing = new Map<string, Error>()
  const asked: string[] = []
  const parts: World['parts'] = { turnMs: 0 }
  const endSockets: SocketBalancer['endSockets'] = (protocol, isGone, network = node) => {
    asked.push(network)
    const failure = failing.get(network)
    if (failure !== undefined) throw failure
    if (parts.of !== undefined) return parts.of()
    const all = sockets.get(network) ?? []
    const gone = all.filter((socket) => socket.protocol === protocol && isGone(socket))
    sockets.set(
      network,
      all.filter((socket) => !gone.includes(socket)),
    )
    return [gone.length]
  }
  const ends = new SocketEnds({
    ...{ balancer: { endSockets }, protocols, faults },
    clock: {
      after: (ms, run) => clock.after(ms, run),
      soon: (run) => (parts.turnMs > 0 ? void clock.after(parts.turnMs, run) : clock.soon(run)),
    },
    networks: hasPods ? () => [...sockets.keys()].filter((each) => each !== node) : undefined,
    isWanted: ({ backend }) => wanted.has(backend.address),
    isNamed: ({ backend }) => named.has(backend.address),
  })
  return { ends, clock, faults, sockets, wanted, named, failing, asked, parts }
}

test('sockets whose backend nothing names are ended in every network, those of others stay', () => {
  const { ends, clock, sockets, wanted, asked } = world()
  wanted.add('10.1.1.5')
  sockets.set(node, [led('10.1.1.5'), led('10.1.1.6')])
  sockets.set('a', [led('10.1.1.6'), led('10.1.1.6', 'TCP')])
  sockets.set('b', [led('10.1.1.5')])
  ends.look()
  clock.advance(10_000)
  assert.deepEqual(asked, [node, 'a', 'b'])
  assert.deepEqual([...sockets.values()], [[led('10.1.1.5')], [led('10.1.1.6', 'TCP')], [led('10.1.1.5')]])
  assert.deepEqual(ends.ended, { count: 2, protocols: ['UDP'], areOfPods: true })
  clock.advance(100_000)
  assert.deepEqual(asked, [node, 'a', 'b'], 'nobody is asked again until something changes')
})

test('a backend that is named again within two seconds costs nobody a socket', () => {
  const { ends, clock, sockets, wanted, asked } = world()
  sockets.set(node, [led('10.1.1.5')])
  ends.look()
  clock.advance(1_900)
  assert.deepEqual(asked, [])
  wanted.add('10.1.1.5')
  clock.advance(10_000)
  assert.deepEqual([asked, ends.ended.count], [[node], 0])
})

test('TCP where it is asked for, and no network of pods where none is named', () => {
  const { ends, clock, sockets, asked } = world(['UDP', 'TCP'], false)
  sockets.set(node, [led('10.1.1.5', 'TCP')])
  sockets.set('a', [led('10.1.1.5')])
  ends.look()
  clock.advance(10_000)
  assert.deepEqual([asked, ends.ended], [[node, node], { count: 1, protocols: ['UDP', 'TCP'], areOfPods: false }])
})

test('what changes while networks are asked has all of them asked once more, after all had their turn', () => {
  const { ends, clock, sockets, asked, parts } = world()
  for (const name of ['a', 'b', 'c']) sockets.set(name, [])
  parts.turnMs = 1_500
  parts.of = () => {
    ends.look()
    return []
  }
  ends.look()
  clock.advance(20_000)
  assert.deepEqual(asked.slice(0, 8), [node, 'a', 'b', 'c', node, 'a', 'b', 'c'])
})

test('a backend that a slice alone names is looked for again, until none does or nobody has it', () => {
  const { ends, clock, sockets, named, asked } = world()
  sockets.set(node, [led('10.1.1.5')])
  named.add('10.1.1.5')
  ends.look()
  clock.advance(15_000)
  assert.deepEqual([asked, ends.ended.count], [[node, node], 0])
  // No frontend loses it: nobody says so.
  named.clear()
  clock.advance(20_000)
  assert.deepEqual([asked, ends.ended.count], [[node, node, node], 1])
  clock.advance(1_000_000)
  assert.deepEqual(asked, [node, node, node])
})

test('a backend that goes while another one is waited for does not wait with it', () => {
  const { ends, clock, sockets, named, asked, failing } = world()
  sockets.set(node, [led('10.1.1.5'), led('10.1.1.6')])
  named.add('10.1.1.5').add('10.1.1.6')
  ends.look()
  clock.advance(100_000)
  named.delete('10.1.1.6')
  ends.look()
  clock.advance(2_000)
  assert.deepEqual([sockets.get(node), ends.ended.count], [[led('10.1.1.5')], 1])
  failing.set(node, new HeraldError('ERR_SYSCALL', 'end a socket: EPERM', { errno: 'EPERM' }))
  ends.look()
  clock.advance(2_000)
  failing.clear()
  named.clear()
  asked.length = 0
  ends.look()
  clock.advance(2_000)
  assert.deepEqual([asked, sockets.get(node)], [[node], []])
})

test('of many sockets a part is looked at in a turn of the loop, and what fails between two ends the others', () => {
  const { ends, clock, faults, parts } = world()
  const turns: number[] = []
  parts.of = function* () {
    for (let part = 1; part <= 3; part++) {
      clock.soon(() => turns.push(part))
      yield 10
    }
    throw new HeraldError('ERR_SYSCALL', 'end a socket: EPERM', { errno: 'EPERM' })
  }
  ends.look()
  clock.advance(3_000)
  assert.deepEqual([turns, ends.ended.count], [[1, 2, 3], 30])
  assert.match(faults.current.map(({ text }) => text).join(), /^of this node: .*EPERM$/)
})

test('a pod that goes meanwhile and a file that is no network are no failure, and the next one is asked', () => {
  const { ends, clock, faults, sockets, failing, asked } = world()
  for (const name of ['gone', 'file', 'pod']) sockets.set(name, [])
  failing.set('gone', Object.assign(new Error('ENOENT: open'), { code: 'ENOENT', syscall: 'open' }))
  failing.set('file', new HeraldError('ERR_SYSCALL', 'enter file: EINVAL', { errno: 'EINVAL' }))
  ends.look()
  clock.advance(10_000)
  assert.deepEqual(asked, [node, 'gone', 'file', 'pod'])
  assert.deepEqual(faults.current, [])
})

test('who may not enter the networks of pods is told so, ends those of the node, and tries again', () => {
  const { ends, clock, faults, sockets, failing, asked } = world()
  sockets.set(node, [led('10.1.1.5')])
  for (const name of ['a', 'b']) sockets.set(name, [led('10.1.1.5')])
  failing.set('a', new HeraldError('ERR_SYSCALL', 'enter a: EPERM', { errno: 'EPERM' }))
  ends.look()
  clock.advance(10_000)
  assert.deepEqual([asked, ends.ended.count], [[node, 'a'], 1])
  assert.deepEqual(
    faults.current.map(({ text }) => text),
    ['in pods: they are not told of it: enter a: EPERM'],
  )
  failing.clear()
  clock.advance(60_000)
  assert.deepEqual([asked, ends.ended.count], [[node, 'a', node, 'a', 'b'], 3])
  assert.deepEqual(faults.current, [])
})

test('a kernel that ends no sockets is a fault for as long as it does not, and pods are asked all the same', () => {
  const { ends, clock, faults, sockets, failing, asked } = world()
  sockets.set('a', [])
  failing.set(node, new HeraldError('ERR_SYSCALL', 'end a socket: EOPNOTSUPP', { errno: 'EOPNOTSUPP' }))
  ends.look()
  clock.advance(10_000)
  assert.deepEqual(asked, [node, 'a'])
  assert.match(faults.current.map(({ text }) => text).join(), /^of this node: .*EOPNOTSUPP$/)
})

test('after the end of the agent nobody is asked any more', () => {
  const { ends, clock, asked } = world()
  ends.look()
  ends.stop()
  clock.advance(10_000)
  assert.deepEqual(asked, [])
})
