import assert from 'node:assert/strict'
import { test } from 'node:test'
import { rehearse } from '../../src/speaker/rehearsal.ts'

test('a rehearsal brings a session up, sends a table and forgets it, as often as it says', async () => {
  // Six rounds of 300 prefixes: every one arrived, in every round.
  assert.equal(await rehearse(), 1_800)
})
