/** The documentation and the program name the same things. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { errorTable } from '../src/errors.ts'

test('docs/errors.md documents exactly the codes of the error table, with their hints', () => {
  const text = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8')
  const rows = [...text.matchAll(/^\| `(ERR_[A-Z_]+)` \| (.+) \|$/gm)].map(([, code, hint]) => [code, hint])
  assert.deepEqual(rows, Object.entries(errorTable))
})
