/** How long one answer may take. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VirtualClock } from '../../../src/clock/virtual-clock.ts'
import { Patience } from '../../../src/k8s/apiserver/patience.ts'

const times = { stallMs: 1_000, wholeMs: 10_000 }

function begin(): { readonly clock: VirtualClock; readonly patience: Patience } {
  const clock = new VirtualClock()
  return { clock, patience: new Patience(clock, new AbortController().signal, times) }
}

test('an answer that does not go on is given up, not before its time after the last read and not after twice that', () => {
  for (const readAtMs of [[], [1], [999], [400, 800, 1_600, 2_599], [999, 999, 1_500]]) {
    const { clock, patience } = begin()
    let now = 0
    for (const at of readAtMs) {
      clock.advance(at - now)
      now = at
      patience.goesOn()
    }
    clock.advance(times.stallMs - 1)
    assert.equal(patience.problem, undefined, `read at ${readAtMs.join()}`)
    clock.advance(1 + (readAtMs.length === 0 ? 0 : times.stallMs))
    assert.match(patience.problem ?? '', /did not go on for 1 s/, `read at ${readAtMs.join()}`)
    assert.ok(patience.signal.aborted)
  }
})

test('however often it is read, two timers wait, and none when it ends', () => {
  const { clock, patience } = begin()
  for (let read = 0; read < 1_000; read++) {
    patience.goesOn()
    clock.advance(1)
    assert.equal(clock.pending, 2)
  }
  patience.end()
  assert.equal(clock.pending, 0)
  assert.equal(patience.problem, undefined)
})

test('an answer that goes on for ever is given up as well', () => {
  const { clock, patience } = begin()
  for (let now = 0; now < times.wholeMs; now += 500) {
    assert.equal(patience.problem, undefined)
    patience.goesOn()
    clock.advance(500)
  }
  assert.match(patience.problem ?? '', /not complete after 10 s/)
})
