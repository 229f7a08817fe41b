/**
 * Observers of events: the past and what comes, in order, within bounds, and each loss said once to whom it concerns.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FlowQuery, FlowResponse } from '../../src/api/flow-types.ts'
import type { DatapathEvent } from '../../src/datapath/events.ts'
import { EventNames } from '../../src/flows/event-names.ts'
import type { NamedEvent } from '../../src/flows/named-event.ts'
import { Observers } from '../../src/flows/observers.ts'
import type { NameQuestion } from '../../src/flows/protocol.ts'
import { connection } from './event.ts'

class World {
  readonly chunks = new Map<number, string[]>()
  readonly ended: number[] = []
  readonly observers = new Observers({
    nodeName: 'node1',
    chunk: (id, text) => void this.chunks.set(id, [...(this.chunks.get(id) ?? []), text]),
    end: (id) => void this.ended.push(id),
  })

  /** Everything that an observer was told, its heartbeats left out. */
  heard(id: number): readonly FlowResponse[] {
    const lines = (this.chunks.get(id) ?? []).join('').split('\n')
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as FlowResponse)
  }

  ports(id: number): readonly (number | undefined)[] {
    return this.heard(id).flatMap(({ flow }) => flow?.l4?.TCP?.source_port ?? [])
  }
}

const event = (port: number, timeMs = port): NamedEvent => ({
  ...connection,
  source: { ...connection.source, port },
  timeMs,
})
const all: FlowQuery = { follow: true, allow: {}, deny: {} }
const past: FlowQuery = { ...all, follow: false }

test('who asks for the past gets the last ones in order, then an end; by default twenty', () => {
  const world = new World()
  for (let port = 1; port <= 30; port++) world.observers.take(event(port))
  const asked: readonly (readonly [FlowQuery, number, number])[] = [
    [past, 11, 30],
    [{ ...past, last: 3 }, 28, 30],
    [{ ...past, last: 999 }, 1, 30],
    [{ ...past, sinceMs: 5, untilMs: 9 }, 5, 9],
    [{ ...past, sinceMs: 5, untilMs: 9, last: 2 }, 8, 9],
  ]
  for (const [id, [query, first, last]] of asked.entries()) {
    world.observers.join(id, query, 1_000)
    assert.deepEqual(
      world.ports(id),
      Array.from({ length: last - first + 1 }, (_, index) => first + index),
    )
    assert.ok(!world.ended.includes(id), 'not before the chunk is taken')
    world.observers.taken(id, 1_000)
    assert.ok(world.ended.includes(id))
  }
  world.observers.join(99, { ...past, last: 0 }, 1_000)
  assert.deepEqual([world.ports(99), world.ended.at(-1)], [[], 99])
})

test('who follows hears what happened since it asked, however late it is heard of', () => {
  const world = new World()
  for (let port = 1; port <= 30; port++) world.observers.take(event(port))
  world.observers.join(1, all, 40, 28)
  world.observers.join(2, { ...all, deny: { 'from-port': ['29'] } }, 40, 28)
  world.observers.join(3, { ...all, last: 1 }, 40, 28)
  world.observers.join(4, all, 40, 40)
  assert.deepEqual(
    [1, 2, 3, 4].map((id) => world.ports(id)),
    [[28, 29, 30], [28, 30], [30], []],
  )
  world.observers.taken(1, 50)
  world.observers.take(event(41))
  world.observers.flush(60)
  assert.deepEqual(world.ports(1), [28, 29, 30, 41])
})

test('who follows hears what comes from now on, one chunk at a time, and nothing after it left', () => {
  const heard = new World()
  heard.observers.take(event(1))
  heard.observers.join(1, all, 0)
  heard.observers.join(2, { ...all, last: 1, deny: { 'from-port': ['3'] } }, 0)
  for (const port of [2, 3]) heard.observers.take(event(port))
  heard.observers.flush(10)
  heard.observers.take(event(4))
  heard.observers.flush(20)
  assert.deepEqual([heard.ports(1), heard.ports(2)], [[2, 3], [1]], 'the second chunk waits for the first')
  for (const id of [1, 2]) heard.observers.taken(id, 30)
  assert.deepEqual(
    [heard.ports(1), heard.ports(2)],
    [
      [2, 3, 4],
      [1, 2, 4],
    ],
  )
  heard.observers.leave(1)
  heard.observers.take(event(5))
  heard.observers.taken(2, 40)
  assert.deepEqual(
    [heard.ports(1), heard.ports(2)],
    [
      [2, 3, 4],
      [1, 2, 4, 5],
    ],
  )
})

test('until a moment: what is later is not told, and once it is past there is an end', () => {
  const world = new World()
  world.observers.join(1, { ...all, untilMs: 100 }, 0)
  world.observers.take(event(100))
  world.observers.take(event(101))
  world.observers.flush(50)
  assert.deepEqual([world.ports(1), world.ended], [[100], []])
  world.observers.taken(1, 60)
  world.observers.flush(101)
  assert.deepEqual([world.ports(1), world.ended], [[100], [1]])
})

test('an observer that takes nothing costs bounded memory, and is told how much it missed; others miss nothing', () => {
  const world = new World()
  world.observers.join(1, all, 0)
  world.observers.join(2, all, 0)
  const count = 5_000
  for (let port = 1; port <= count; port++) {
    world.observers.take(event(port))
    if (port % 100 === 0) {
      world.observers.flush(port)
      world.observers.taken(2, port)
    }
  }
  assert.equal(world.ports(2).length, count)
  assert.ok((world.chunks.get(1)?.length ?? 0) === 1)
  for (let turn = 0; turn < 10; turn++) world.observers.taken(1, count)
  const lost = world.heard(1).flatMap(({ lost_events: loss }) => loss ?? [])
  assert.deepEqual(
    lost.map(({ source }) => source),
    ['OBSERVER_EVENTS_QUEUE'],
  )
  assert.equal(world.ports(1).length + (lost[0]?.num_events_lost ?? 0), count)
  for (const chunk of world.chunks.get(1) ?? []) assert.ok(chunk.length <= 256 * 1024 + 1_000)
})

test('what the kernel could not tell is said once to each who follows, in sum, and not to who asks for the past', () => {
  const world = new World()
  world.observers.join(1, all, 0)
  world.observers.take(event(1))
  world.observers.join(2, past, 0)
  world.observers.untold(3)
  world.observers.untold(4)
  world.observers.untold(0)
  world.observers.flush(10)
  world.observers.taken(1, 20)
  world.observers.taken(2, 20)
  const losses = (id: number) => world.heard(id).flatMap(({ lost_events: loss }) => loss ?? [])
  assert.deepEqual(losses(1), [{ source: 'PERF_EVENT_RING_BUFFER', num_events_lost: 7 }])
  assert.deepEqual([losses(2), world.ended], [[], [2]])
})

test('while nothing happens a line end goes out now and then, by which who is gone is noticed', () => {
  const world = new World()
  world.observers.join(1, all, 0)
  for (const ms of [1_000, 1_999]) world.observers.flush(ms)
  assert.equal(world.chunks.get(1), undefined)
  world.observers.flush(2_000)
  assert.deepEqual(world.chunks.get(1), ['\n'])
})

test('a clock that is set back by an hour keeps no line end back by which who is gone is noticed', () => {
  const world = new World()
  const hourMs = 3_600_000
  world.observers.join(1, all, hourMs)
  world.observers.flush(hourMs + 1_000)
  assert.deepEqual(world.chunks.get(1) ?? [], [])
  world.observers.flush(1_000)
  assert.deepEqual(world.chunks.get(1), ['\n'])
  world.observers.taken(1, 1_000)
  world.observers.flush(2_999)
  assert.equal(world.chunks.get(1)?.length, 1, 'and from then on it counts')
  world.observers.flush(3_000)
  assert.equal(world.chunks.get(1)?.length, 2)
})

test('names are asked for once for many events, and events wait for them in their order, but not for ever', () => {
  const questions: (readonly NameQuestion[])[] = []
  const names = new EventNames((asked) => void questions.push(asked))
  const { service: _service, pod: _pod, timeMs: _time, ...bare } = connection
  const other = { ...bare, destination: { address: '203.0.113.11', port: 53 }, protocol: 17 }
  const unowned: DatapathEvent = { ...bare, type: 'drop', detail: 'unowned_port' }
  for (const [index, each] of [bare, bare, other, unowned].entries()) names.add(each, index, 0)
  assert.deepEqual(names.take(0), [])
  assert.deepEqual(questions, [
    [
      { frontend: '203.0.113.10:80/TCP', backend: '10.1.1.5' },
      { frontend: '203.0.113.11:53/UDP', backend: '10.1.1.5' },
    ],
  ])
  names.answered([{ service: 'default/web', pod: 'default/web-5' }, {}], 10)
  const told = names.take(10)
  assert.deepEqual(
    told.map(({ service, timeMs }) => [service, timeMs]),
    [
      ['default/web', 0],
      ['default/web', 1],
      [undefined, 2],
      [undefined, 3],
    ],
  )
  // Known for five seconds, asked for anew then; meanwhile what is known is told.
  names.add(bare, 4, 4_000)
  assert.equal(names.take(4_000)[0]?.service, 'default/web')
  names.add(bare, 5, 6_000)
  assert.equal(names.take(6_000)[0]?.service, 'default/web')
  assert.equal(questions.length, 2)
  // Nobody answers: after a second the event goes without names, and those behind it follow.
  const silent = new EventNames(() => undefined)
  silent.add(other, 6, 0)
  silent.add(unowned, 7, 0)
  assert.deepEqual([silent.take(999).length, silent.take(1_000).map(({ timeMs }) => timeMs)], [0, [6, 7]])
})
