/** Each recording of this folder, repeated by the pure core and compared output by output. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { replay } from '../../src/speaker/recording/replay.ts'
import { scenarios } from './scenarios.ts'

const read = (name: string): string => readFileSync(new URL(`${name}.jsonl`, import.meta.url), 'utf8')

for (const { name, comment } of scenarios) {
  test(`${name}: ${comment}`, async () => {
    const text = read(name)
    assert.equal(text.split('\n')[0], `# ${comment}`)
    const outcome = await replay(text)
    assert.equal(outcome.difference, undefined, 'record anew with node test/scenarios/write.ts if this is meant')
    assert.ok(outcome.inputs > 5 && outcome.outputs > 5)
  })
}

test('every recording is of a scenario that can be recorded anew', () => {
  assert.deepEqual(
    readdirSync(new URL('.', import.meta.url))
      .filter((name) => name.endsWith('.jsonl'))
      .sort(),
    scenarios.map(({ name }) => `${name}.jsonl`).sort(),
  )
})
