/** One turn of the loop and those who share it: together they keep it no longer than one of them may. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../../src/clock/system-clock.ts'
import { Turn } from '../../src/clock/turn.ts'

/** A loop whose time goes by where work takes some, and whose turns end when they are told to. */
class Loop {
  elapsedMs = 0
  #soon: (() => void)[] = []
  /** Work done in each turn, ms. */
  readonly turns: number[] = [0]

  readonly clock = {
    monotonic: (): number => this.elapsedMs,
    soon: (action: () => void): void => void this.#soon.push(action),
  }

  work(ms: number): void {
    this.elapsedMs += ms
    this.turns[this.turns.length - 1] = (this.turns.at(-1) ?? 0) + ms
  }

  /** Ends the turn; what was promised for the next one runs in it. */
  async next(): Promise<void> {
    this.turns.push(0)
    for (const action of this.#soon.splice(0)) action()
    await new Promise((resolve) => setImmediate(resolve))
  }
}

test('several that work at once keep a turn as long as one of them may, and each has its turn', async () => {
  const loop = new Loop()
  const turn = new Turn(loop.clock, 3)
  const done = [0, 0, 0, 0]
  const pieces = 25
  const all = Promise.all(
    done.map(async (_, which) => {
      for (let left = pieces; left > 0; left--) {
        while (!turn.hasTime()) await turn.next
        loop.work(2)
        done[which] = (done[which] ?? 0) + 1
        await Promise.resolve()
      }
    }),
  )
  for (let left = 200; left > 0 && done.some((count) => count < pieces); left--) await loop.next()
  await all
  assert.deepEqual(done, [pieces, pieces, pieces, pieces])
  // The last piece begins while there is time, and may be over when there is none.
  for (const worked of loop.turns) assert.ok(worked <= 3 + 2, `a turn of ${worked} ms`)
})

test('a turn that was left early leaves its time to nobody: the next one begins with all of its own', async () => {
  const loop = new Loop()
  const turn = new Turn(loop.clock, 3)
  assert.ok(turn.hasTime())
  loop.work(2)
  await loop.next()
  loop.work(10)
  assert.ok(turn.hasTime(), 'time between two turns counts for none of them')
  loop.work(3)
  assert.ok(!turn.hasTime())
})

test('work that never ends leaves the loop of the system free for timers and sockets', async () => {
  const turn = new Turn(systemClock, 2)
  let isOver = false
  const timer = setTimeout(() => {
    isOver = true
  }, 20)
  let pieces = 0
  while (!isOver) {
    while (!turn.hasTime()) await turn.next
    pieces++
    await Promise.resolve()
  }
  clearTimeout(timer)
  assert.ok(pieces > 0)
})
