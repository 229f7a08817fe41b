import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { titles } from './clauses.ts'
import { findAll, mentions, page } from './page.ts'

const all = findAll()
const key = ({ rfc, clause }: { readonly rfc: number; readonly clause: string }): string => `RFC ${rfc} ${clause}`

test('every clause that a node speaker must or should follow has code that names it', () => {
  assert.deepEqual(all.filter(({ files }) => files.length === 0).map(key), [])
})

test('every clause has a test that names it', () => {
  assert.deepEqual(all.filter(({ tests }) => tests.length === 0).map(key), [])
})

test('every RFC of the list has its rows, and no clause is there twice', () => {
  assert.deepEqual(
    Object.keys(titles)
      .map(Number)
      .filter((rfc) => !all.some((row) => row.rfc === rfc)),
    [],
  )
  assert.equal(new Set(all.map(key)).size, all.length)
})

test('docs/rfc.md is what code and tests say now; if not: npm run rfc', () => {
  assert.equal(readFileSync(new URL('../../docs/rfc.md', import.meta.url), 'utf8'), page(all))
})

test('mentions are read in all the ways in which they are written', () => {
  assert.deepEqual(mentions('RFC 7606 7.4, 7.5 and 7.9, RFC 4271 9.1.2.2 a; RFC 2385'), [
    '7606 7.4',
    '7606 7.5',
    '7606 7.9',
    '7606 ',
    '4271 9.1.2.2 a',
    '4271 ',
    '2385 ',
  ])
})
