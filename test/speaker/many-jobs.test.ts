/** Four long jobs of a speaker in each other's way, at moments of all lengths: what two-jobs.test.ts asks of two. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { seededRandom } from '../../src/speaker/session/random.ts'
import { jobs, Stage } from './stage.ts'

/** Between the begins of two, seconds: at once, within a turn or some, behind a drain and a reconnect. */
const moments = [0, 0.002, 0.02, 0.3, 1.1, 6, 11]
const names = Object.keys(jobs)

/** The same ones in every run. */
const random = seededRandom(20)
const oneOf = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)] as T
const sequences = Array.from({ length: 24 }, () =>
  Array.from({ length: 4 }, () => ({ name: oneOf(names), behindSec: oneOf(moments) })),
)

test('any four jobs, whenever each begins, end with what is wanted at the router (RFC 4724 2, RFC 7313 4)', async (t) => {
  assert.deepEqual(
    names.filter((each) => !sequences.flat().some(({ name }) => name === each)),
    [],
    'every job has its turn',
  )
  for (const sequence of sequences)
    await t.test(sequence.map(({ name, behindSec }) => `${name}, ${behindSec} s`).join('; '), async () => {
      const stage = new Stage()
      await stage.start()
      for (const name of new Set(sequence.map((each) => each.name))) jobs[name]?.prepare?.(stage)
      await stage.network.advance(30)
      for (const { name, behindSec } of sequence) {
        jobs[name]?.begin(stage)
        await stage.network.advance(behindSec)
      }
      await stage.network.advance(120)
      stage.check()
    })
})
