import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Chore, Chores } from '../../src/speaker/chores.ts'
import { InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'

/** So many units of work. */
class Pile implements Chore {
  left: number
  /** Units of each turn. */
  readonly turns: number[] = []
  readonly #note: (units: number) => void

  constructor(left: number, note: (units: number) => void = () => {}) {
    this.left = left
    this.#note = note
  }

  work(units: number): number {
    const done = Math.min(units, this.left)
    this.turns.push(done)
    this.#note(done)
    this.left -= done
    return units - done
  }
}

test('a turn does a bounded number of units, shared by what is due, and goes on until nothing is left', async () => {
  const network = new InMemoryNetwork()
  const host = network.host(0x0a000001)
  let units = 0
  let most = 0
  const soon = host.soon.bind(host)
  host.soon = (callback) =>
    soon(() => {
      units = 0
      callback()
      most = Math.max(most, units)
    })
  const chores = new Chores(host)
  const piles = [1_000_000, 3, 50_000].map((left) => new Pile(left, (done) => (units += done)))
  for (const pile of piles) for (let i = 0; i < 5; i++) chores.add(pile)
  await network.advance(0)
  assert.deepEqual(
    piles.map(({ left }) => left),
    [0, 0, 0],
  )
  assert.ok(most > 0 && most <= 4_096, `${most} units in one turn`)
  assert.ok((piles[1]?.turns.length ?? 0) <= 2, 'what is small does not wait for what is large')
  assert.ok((piles[2]?.turns.length ?? 99) < 30, `${piles[2]?.turns.length} turns`)
})

test('what is due after the end is not done', async () => {
  const network = new InMemoryNetwork()
  const chores = new Chores(network.host(0x0a000001))
  const pile = new Pile(100_000)
  chores.add(pile)
  chores.end()
  await network.advance(1)
  assert.deepEqual([pile.left, pile.turns], [100_000, []])
})
