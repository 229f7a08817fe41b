/**
 * Every two long jobs of a speaker at once, in both orders and at several moments: what the router ends up with is what
 * is wanted, every BoRR has its EoRR, End-of-RIB comes once, and behind the end of a session nothing is said.
 */
import { test } from 'node:test'
import { jobs, Stage } from './stage.ts'

/** Between the begin of the two, seconds: at once, and after some turns. */
const moments = [0, 0.005]

for (const [name, first] of Object.entries(jobs))
  test(`${name}, and any other job before it is done (RFC 7313 4, RFC 4724 2)`, async (t) => {
    for (const [other, second] of Object.entries(jobs))
      await t.test(`then ${other}`, async () => {
        for (const moment of moments) {
          const stage = new Stage()
          await stage.start()
          first.prepare?.(stage)
          if (second !== first) second.prepare?.(stage)
          await stage.network.advance(30)
          first.begin(stage)
          await stage.network.advance(moment)
          second.begin(stage)
          await stage.network.advance(90)
          stage.check()
        }
      })
  })
