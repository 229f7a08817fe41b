/**
 * Every two long jobs of a speaker at once, in both orders and at several moments: what the router ends up with is what
 * is wanted, every BoRR has its EoRR, End-of-RIB comes once, and behind the end of a session nothing is said.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Job, jobs, Stage } from './stage.ts'

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

/** The node stops before a job or behind it; what was under way ends, and what begins later does nothing. */
async function stopped(job: Job, mode: 'restart' | 'shutdown', isFirst: boolean): Promise<void> {
  const stage = new Stage()
  await stage.start()
  job.prepare?.(stage)
  await stage.network.advance(30)
  let dials = 0
  const stop = (): void => {
    dials = stage.host.dialled.length
    stage.node.speaker.handle({ type: 'stop', mode, text: 'enough' })
  }
  const begin = (): void => job.begin(stage)
  const [first, second] = isFirst ? [stop, begin] : [begin, stop]
  first()
  await stage.network.advance(0.005)
  second()
  await stage.network.advance(90)
  assert.equal(stage.node.said.filter(({ type }) => type === 'stopped').length, 1, 'the end is told once')
  assert.equal(stage.host.dialled.length, dials, 'nobody is dialled any more')
  for (const session of stage.routers.flatMap(({ sessions }) => sessions)) {
    assert.deepEqual([session.isUp, session.faults], [false, []])
    // Who comes back says nothing, so that its routes are kept; what a job said of itself before is its own.
    if (mode === 'restart' && isFirst) assert.equal(session.notification, undefined)
  }
}

for (const mode of ['restart', 'shutdown'] as const)
  test(`a ${mode} of the node before or behind any job ends every session, once (RFC 4724 4)`, async (t) => {
    for (const [name, job] of Object.entries(jobs))
      await t.test(name, async () => {
        for (const isFirst of [true, false]) await stopped(job, mode, isFirst)
      })
  })
