import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ControlPacket } from '../../src/bfd/packet.ts'
import { heard, Lone, settings } from './stand.ts'

const states = ['AdminDown', 'Down', 'Init', 'Up'] as const

/** RFC 5880 6.8.6: from our state, by what the other side says. */
const transitions: Readonly<Record<'Down' | 'Init' | 'Up', Readonly<Record<(typeof states)[number], string>>>> = {
  Down: { AdminDown: 'Down', Down: 'Init', Init: 'Up', Up: 'Down' },
  Init: { AdminDown: 'Down', Down: 'Init', Init: 'Up', Up: 'Up' },
  Up: { AdminDown: 'Down', Down: 'Down', Init: 'Up', Up: 'Up' },
}

const into = { Down: [], Init: ['Down'], Up: ['Down', 'Up'] } as const

for (const [from, row] of Object.entries(transitions))
  for (const [said, to] of Object.entries(row))
    test(`RFC 5880 6.8.6: in ${from} a packet that says ${said} leads to ${to}`, () => {
      const lone = new Lone()
      for (const state of into[from as keyof typeof into]) lone.hear({ state })
      assert.equal(lone.session.state, from)
      lone.hear({ state: said as ControlPacket['state'] })
      assert.equal(lone.session.state, to)
      if (to === 'Down' && from !== 'Down') assert.equal(lone.session.diagnostic, 3)
      if (to !== from) assert.equal(lone.last.state, to, 'what is different is told at once (6.8.7)')
    })

test('RFC 5880 6.8.7: it sends first, with your discriminator 0, and waits passive until it has heard something', () => {
  const active = new Lone()
  active.advance(0)
  assert.deepEqual([active.sent.length, active.last.yourDiscriminator, active.last.state], [1, 0, 'Down'])
  const passive = new Lone(settings({ isPassive: true }))
  passive.advance(10_000)
  assert.equal(passive.sent.length, 0)
  passive.hear({ state: 'Down', yourDiscriminator: 0 })
  assert.deepEqual([passive.last.state, passive.last.yourDiscriminator], ['Init', 77])
})

test('RFC 5880 6.8.3: no session that is not Up sends faster than once a second, nor says that it would', () => {
  for (const wanted of [10, 999, 1_000, 5_000]) {
    const lone = new Lone(settings({ transmitIntervalMs: wanted }))
    lone.advance(20_000)
    const gaps = lone.sent.slice(1).map(({ atMs }, i) => atMs - (lone.sent[i]?.atMs ?? 0))
    const least = Math.max(1_000, wanted)
    assert.ok(
      gaps.every((gap) => gap === least),
      `${gaps} of ${least}: chance draws no jitter here`,
    )
    assert.equal(lone.last.desiredMinTxUs, least * 1_000)
  }
})

test('RFC 5880 6.8.7: jitter takes 0 to 25 % away, and 10 to 25 % where one lost packet ends the session', () => {
  for (const [multiplier, chance, share] of [
    [3, 0, 0.75],
    [3, 1, 1],
    [1, 0, 0.75],
    [1, 1, 0.9],
  ] as const) {
    const lone = new Lone(settings({ detectMultiplier: multiplier })).up()
    lone.chance = chance
    // The first one is still of the jitter before.
    for (let i = 0; i < 5; i++) {
      lone.hear({ state: 'Up' })
      lone.advance(100)
    }
    const [before, after] = lone.sent.slice(-2)
    assert.equal(Math.round((after?.atMs ?? 0) - (before?.atMs ?? 0)), 100 * share)
  }
})

test('RFC 5880 6.8.2: it sends no faster than the other side takes, and not at all where that takes nothing', () => {
  const lone = new Lone(settings({ transmitIntervalMs: 50 })).up()
  lone.hear({ state: 'Up', requiredMinRxUs: 400_000 })
  assert.equal(lone.session.transmitIntervalMs, 400)
  lone.hear({ state: 'Up', requiredMinRxUs: 0, desiredMinTxUs: 60_000_000 })
  const before = lone.sent.length
  lone.advance(10_000)
  assert.equal(lone.sent.length, before)
  lone.hear({ state: 'Up', requiredMinRxUs: 0, desiredMinTxUs: 60_000_000, poll: true })
  assert.equal(lone.last.final, true, 'a Poll is answered all the same')
})

test('RFC 5880 6.8.4: the detection time is of the multiplier of the other side and the slower of both intervals', () => {
  for (const [own, multiplier, minTxUs, expectedMs] of [
    [100, 3, 100_000, 300],
    [100, 5, 20_000, 500],
    [100, 3, 250_000, 750],
    [300, 2, 10_000, 600],
    [10, 255, 10_000, 2_550],
  ] as const) {
    const lone = new Lone(settings({ receiveIntervalMs: own })).up()
    lone.hear({ state: 'Up', detectMultiplier: multiplier, desiredMinTxUs: minTxUs })
    assert.equal(lone.session.detectionTimeMs, expectedMs)
    lone.advance(expectedMs - 1)
    assert.equal(lone.session.state, 'Up')
    lone.advance(1)
    assert.deepEqual([lone.session.state, lone.session.diagnostic], ['Down', 1])
    assert.deepEqual([lone.last.state, lone.last.diagnostic, lone.last.yourDiscriminator], ['Down', 1, 0])
  }
})

test('RFC 5880 6.8.4: silence in Init ends it too, in Down it only forgets who was heard (6.8.1)', () => {
  const init = new Lone()
  init.hear({ state: 'Down' })
  init.advance(300)
  assert.deepEqual([init.session.state, init.session.diagnostic], ['Down', 1])
  const down = new Lone()
  down.hear({ state: 'Up' })
  assert.equal(down.session.remote.discriminator, 77)
  down.advance(300)
  assert.deepEqual([down.session.state, down.session.diagnostic, down.session.remote.discriminator], ['Down', 0, 0])
})

test('RFC 5880 6.5 and 6.8.3: Up, it polls with its own interval until the answer, and never says P and F together', () => {
  const lone = new Lone()
  lone.hear({ state: 'Down' })
  lone.hear({ state: 'Up' })
  assert.deepEqual([lone.session.state, lone.last.poll, lone.last.desiredMinTxUs], ['Up', true, 100_000])
  lone.hear({ state: 'Up', poll: true })
  assert.deepEqual([lone.last.poll, lone.last.final], [false, true])
  lone.advance(100)
  assert.equal(lone.last.poll, true)
  lone.hear({ state: 'Up', final: true })
  lone.advance(100)
  assert.equal(lone.last.poll, false)
})

test('RFC 5880 6.8.3: slower sending and faster detection begin with the answer to the Poll, the reverse at once', () => {
  const slower = new Lone().up()
  slower.session.configure(settings({ transmitIntervalMs: 500, receiveIntervalMs: 50 }), slower.nowMs)
  slower.hear({ state: 'Up', desiredMinTxUs: 10_000 })
  assert.deepEqual([slower.session.transmitIntervalMs, slower.session.detectionTimeMs], [100, 300])
  slower.advance(100)
  assert.deepEqual([slower.last.poll, slower.last.desiredMinTxUs, slower.last.requiredMinRxUs], [true, 500_000, 50_000])
  slower.hear({ state: 'Up', desiredMinTxUs: 10_000, final: true })
  assert.deepEqual([slower.session.transmitIntervalMs, slower.session.detectionTimeMs], [500, 150])
  const faster = new Lone().up()
  faster.hear({ state: 'Up', desiredMinTxUs: 10_000, requiredMinRxUs: 10_000 })
  faster.session.configure(settings({ transmitIntervalMs: 20, receiveIntervalMs: 400 }), faster.nowMs)
  assert.deepEqual([faster.session.transmitIntervalMs, faster.session.detectionTimeMs], [20, 1_200])
  assert.equal(faster.session.state, 'Up')
})

test('RFC 5880 6.5: a change during a Poll has a Poll of its own', () => {
  const lone = new Lone().up()
  lone.session.configure(settings({ transmitIntervalMs: 200 }), lone.nowMs)
  lone.session.configure(settings({ transmitIntervalMs: 400 }), lone.nowMs)
  lone.hear({ state: 'Up', final: true })
  assert.equal(lone.session.transmitIntervalMs, 100, 'that may answer the first one')
  lone.advance(100)
  assert.equal(lone.last.poll, true)
  lone.hear({ state: 'Up', final: true })
  assert.equal(lone.session.transmitIntervalMs, 400)
})

test('RFC 5880 6.5: an answer that nobody asked for changes nothing', () => {
  const lone = new Lone().up()
  const before = [lone.session.state, lone.session.transmitIntervalMs, lone.session.detectionTimeMs]
  lone.hear({ state: 'Up', final: true })
  assert.deepEqual([lone.session.state, lone.session.transmitIntervalMs, lone.session.detectionTimeMs], before)
})

test('RFC 5880 6.6: a peer in Demand mode is sent nothing but Polls and answers, and goes on being watched', () => {
  const lone = new Lone().up()
  lone.hear({ state: 'Up', demand: true, desiredMinTxUs: 1_000_000 })
  const before = lone.sent.length
  lone.advance(1_000)
  assert.equal(lone.sent.length, before)
  lone.hear({ state: 'Up', demand: true, desiredMinTxUs: 1_000_000, poll: true })
  assert.equal(lone.last.final, true)
  lone.session.configure(settings({ transmitIntervalMs: 200 }), lone.nowMs)
  lone.advance(200)
  assert.equal(lone.last.poll, true)
  lone.advance(5_000)
  assert.deepEqual([lone.session.state, lone.session.diagnostic], ['Down', 1])
})

test('RFC 5880 6.8.16: taken down it says AdminDown at once, hears nothing any more, and is no failure', () => {
  const lone = new Lone().up()
  lone.session.disable(lone.nowMs)
  assert.deepEqual([lone.last.state, lone.last.diagnostic, lone.last.desiredMinTxUs], ['AdminDown', 7, 1_000_000])
  const before = lone.sent.length
  for (const state of states) lone.hear({ state, poll: true })
  assert.deepEqual([lone.session.state, lone.sent.length], ['AdminDown', before])
  lone.advance(10_000)
  assert.equal(lone.session.state, 'AdminDown')
})

test('RFC 5880 6.8.6: a peer that restarted and says Down ends the session, and both come up anew', () => {
  const lone = new Lone().up()
  lone.hear({ state: 'Down', yourDiscriminator: 0, myDiscriminator: 99 })
  assert.deepEqual([lone.session.state, lone.session.diagnostic, lone.session.remote.discriminator], ['Down', 3, 99])
  lone.hear({ state: 'Down', myDiscriminator: 99 })
  lone.hear({ state: 'Up', myDiscriminator: 99 })
  assert.equal(lone.session.state, 'Up')
})

test('whatever a peer says and however time passes, it sends what is allowed and is never due in the past for long', () => {
  const said = fc.record({
    state: fc.constantFrom(...states),
    poll: fc.boolean(),
    final: fc.boolean(),
    demand: fc.boolean(),
    detectMultiplier: fc.integer({ min: 1, max: 255 }),
    desiredMinTxUs: fc.constantFrom(0, 1, 10_000, 100_000, 1_000_000, 0xffff_ffff),
    requiredMinRxUs: fc.constantFrom(0, 1, 10_000, 100_000, 1_000_000, 0xffff_ffff),
  })
  const step = fc.oneof(said, fc.constantFrom(1, 50, 500, 5_000), fc.constant('disable' as const))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.boolean(), (steps, isPassive) => {
      const lone = new Lone(settings({ isPassive }))
      for (const one of steps) {
        if (typeof one === 'number') lone.advance(one)
        else if (one === 'disable') lone.session.disable(lone.nowMs)
        else lone.hear({ ...heard, ...one })
        lone.session.expire(lone.nowMs)
        assert.ok(lone.session.dueMs > lone.nowMs, 'no turn of work without an end')
      }
      for (const packet of lone.sent) {
        assert.ok(!(packet.poll && packet.final))
        assert.ok(packet.state === 'Up' || packet.desiredMinTxUs >= 1_000_000)
        assert.deepEqual([packet.requiredMinEchoRxUs, packet.demand, packet.controlPlaneIndependent], [0, false, false])
      }
    }),
    { numRuns: 500 },
  )
})
