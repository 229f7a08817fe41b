/** Every long job of a speaker, written down while it runs with another one behind it, and repeated to the octet. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ToSpeaker } from '../../../src/speaker/protocol.ts'
import { Recorder } from '../../../src/speaker/recording/record.ts'
import { replay } from '../../../src/speaker/recording/replay.ts'
import { type Job, jobs, restart, Stage } from '../stage.ts'

/** A stage whose speaker has a recorder around it, as the worker puts it there. */
function recordedStage(lines: string[]): Stage {
  let recorder: Recorder | undefined
  const stage = new Stage({}, (environment) => {
    recorder = new Recorder(environment, restart, 42, (line) => lines.push(JSON.stringify(line)))
    return recorder
  })
  const { speaker, said } = stage.node
  const handle = speaker.handle.bind(speaker)
  Object.assign(speaker, { handle: (message: ToSpeaker) => recorder?.hear(message, handle) })
  const push = said.push.bind(said)
  Object.assign(said, {
    push: (...messages: typeof said) => {
      for (const message of messages) recorder?.tell(message)
      return push(...messages)
    },
  })
  return stage
}

async function recordingOf(first: Job, second: Job): Promise<readonly string[]> {
  const lines: string[] = []
  const stage = recordedStage(lines)
  await stage.start()
  first.prepare?.(stage)
  if (second !== first) second.prepare?.(stage)
  await stage.network.advance(30)
  first.begin(stage)
  await stage.network.advance(0.005)
  second.begin(stage)
  await stage.network.advance(90)
  stage.check()
  return lines
}

const all = Object.entries(jobs)
for (const [i, [name, job]] of all.entries()) {
  const [behind, second] = all[(i + 1) % all.length] as (typeof all)[number]
  test(`${name}, then ${behind}, is repeated to the octet, and a changed octet is found`, async () => {
    const lines = await recordingOf(job, second)
    const { difference, inputs, outputs } = await replay(`${lines.join('\n')}\n`)
    assert.deepEqual(difference, undefined)
    assert.ok(inputs > 20 && outputs > 15, `${inputs} inputs, ${outputs} outputs`)
    const last = lines.findLastIndex((line) => line.includes('"out":"write"'))
    const wrong = lines.map((line, at) => (at === last ? line.replace('"bytes":"ff', '"bytes":"fe') : line))
    assert.equal((await replay(wrong.join('\n'))).difference?.line, last + 1)
  })
}
