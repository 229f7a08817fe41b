/** Names for events: asked for once for many, remembered for a while, and never a reason to lose or to reorder one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DatapathEvent } from '../../src/datapath/events.ts'
import { EventNames } from '../../src/flows/event-names.ts'
import type { NameQuestion, Names } from '../../src/flows/protocol.ts'
import { anyEvent, connection } from './event.ts'

const { service: _service, pod: _pod, ...nameless } = connection
const to = (address: string, port = 80): DatapathEvent => ({ ...nameless, destination: { address, port } })

/** What was asked, and names made of the questions. */
class Asked {
  readonly questions: (readonly NameQuestion[])[] = []
  readonly names = new EventNames((questions) => void this.questions.push(questions))

  answer(nowMs: number): void {
    this.names.answered((this.questions.at(-1) ?? []).map(nameOf), nowMs)
  }

  services(nowMs: number): readonly (string | undefined)[] {
    return this.names.take(nowMs).map(({ service }) => service)
  }
}

const nameOf = ({ frontend, backend }: NameQuestion): Names => ({ service: `s/${frontend}`, pod: `p/${backend}` })
const web = 's/203.0.113.1:80/TCP'

test('a thousand events of one flow are one question, and wait for its answer in their order', () => {
  const world = new Asked()
  for (let i = 0; i < 1_000; i++) world.names.add(to('203.0.113.1'), i, 0)
  assert.deepEqual(world.services(1), [])
  assert.deepEqual(world.questions, [[{ frontend: '203.0.113.1:80/TCP', backend: '10.1.1.5' }]])
  assert.deepEqual(world.services(2), [], 'it is not asked again while the question is open')
  assert.equal(world.questions.length, 1)
  world.answer(3)
  const taken = world.names.take(3)
  assert.deepEqual(
    taken.map(({ timeMs }) => timeMs),
    Array.from({ length: 1_000 }, (_, index) => index),
  )
  assert.ok(taken.every(({ service, pod }) => service === web && pod === 'p/10.1.1.5'))
  // The next one goes at once.
  world.names.add(to('203.0.113.1'), 0, 10)
  assert.deepEqual(world.services(10), [web])
  assert.equal(world.questions.length, 1)
})

test('what is remembered is shown while it is asked for anew, and a new answer counts from then on', () => {
  const world = new Asked()
  world.names.add(to('203.0.113.1'), 0, 0)
  world.names.take(0)
  world.answer(0)
  world.names.take(0)
  world.names.add(to('203.0.113.1'), 0, 5_001)
  assert.deepEqual(world.services(5_001), [web], 'it does not wait')
  assert.equal(world.questions.length, 2)
  world.names.answered([{ service: 'shop/renamed' }], 5_002)
  world.names.add(to('203.0.113.1'), 0, 5_003)
  const [event] = world.names.take(5_003)
  // The pod of the answer before is not mixed into it.
  assert.deepEqual([event?.service, event?.pod], ['shop/renamed', undefined])
})

test('an agent that does not answer costs an event its names after a second, and no more', () => {
  const world = new Asked()
  world.names.add(to('203.0.113.1'), 1, 0)
  world.names.add(to('203.0.113.2'), 2, 500)
  assert.deepEqual(world.names.take(999), [])
  assert.deepEqual(
    world.names.take(1_000).map(({ timeMs, service }) => [timeMs, service]),
    // The second still waits for its own second.
    [[1, undefined]],
  )
  assert.deepEqual(world.names.take(1_499), [])
  assert.equal(world.names.take(1_500).length, 1)
  assert.equal(world.questions.length, 1, 'and it is not pressed with questions meanwhile')
})

test('a clock that is set back by an hour has nobody wait that long for a name, nor believe one for so long', () => {
  const world = new Asked()
  const hourMs = 3_600_000
  world.names.add(to('203.0.113.1'), 0, hourMs)
  assert.deepEqual(world.services(hourMs), [])
  assert.deepEqual(world.services(0), [undefined], 'it goes without one')
  world.answer(hourMs)
  world.names.add(to('203.0.113.1'), 0, 0)
  assert.deepEqual(world.services(0), [web])
  assert.equal(world.questions.length, 2, 'it is asked anew')
})

test('one event without a name lets the others wait, so that none overtakes another', () => {
  const world = new Asked()
  world.names.add(to('203.0.113.1'), 1, 0)
  world.names.take(0)
  world.answer(0)
  world.names.take(0)
  world.names.add(to('203.0.113.9'), 2, 10)
  world.names.add(to('203.0.113.1'), 3, 10)
  assert.deepEqual(world.names.take(10), [])
  world.answer(11)
  assert.deepEqual(
    world.names.take(11).map(({ timeMs }) => timeMs),
    [2, 3],
  )
})

test('a scan over many Services is asked for in parts, and what is kept stays bounded', () => {
  const world = new Asked()
  const count = 10_000
  for (let port = 1; port <= count; port++) world.names.add(to('203.0.113.1', port), port, 0)
  assert.ok(world.names.room < 16_384 - count + 1 && world.names.room > 0)
  let taken = 0
  for (let round = 0; taken < count && round < 1_000; round++) {
    taken += world.names.take(0).length
    assert.ok((world.questions.at(-1)?.length ?? 0) <= 128)
    world.answer(0)
  }
  assert.equal(taken, count)
  assert.equal(world.names.room, 16_384)
  // Bounded: of so many names the first were forgotten, and are asked for again.
  const before = world.questions.length
  world.names.add(to('203.0.113.1', 1), 1, 1)
  world.names.take(1)
  assert.equal(world.questions.length, before + 1)
})

test('whatever comes, is answered or is late: every event comes out once, in its order, with names that were told', () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('add' as const), event: anyEvent }) },
    { weight: 2, arbitrary: fc.constant({ do: 'take' } as const) },
    { weight: 2, arbitrary: fc.constant({ do: 'answer' } as const) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 7_000 }) }) },
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const world = new Asked()
      const told = new Set<string | undefined>()
      let [nowMs, added, isOpen] = [0, 0, false]
      const out: { readonly timeMs: number; readonly service?: string }[] = []
      const take = (): void => {
        const asked = world.questions.length
        out.push(...world.names.take(nowMs))
        isOpen ||= world.questions.length > asked
      }
      for (const each of steps) {
        if (each.do === 'add') {
          const { service: _, pod: __, ...event } = each.event
          world.names.add(event, added++, nowMs)
        } else if (each.do === 'take') take()
        else if (each.do === 'pass') nowMs += each.ms
        else if (isOpen) {
          for (const question of world.questions.at(-1) ?? []) told.add(nameOf(question).service)
          world.answer(nowMs)
          isOpen = false
        }
      }
      nowMs += 1_000
      take()
      assert.deepEqual(
        out.map(({ timeMs }) => timeMs),
        Array.from({ length: added }, (_, index) => index),
      )
      for (const { service } of out) assert.ok(service === undefined || told.has(service), service)
    }),
  )
})
