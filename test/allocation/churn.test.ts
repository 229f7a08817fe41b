/** Thousands of Services that come and go: nothing of them is left but the lines that a book keeps on purpose. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type AddressBook, releasedLimit } from '../../src/allocation/address-book.ts'
import { openFileBook } from '../../src/allocation/file-book.ts'
import { MemoryBook } from '../../src/allocation/memory-book.ts'
import { inFolder } from '../k8s/manifests.ts'
import { FolderAgent, pool, request } from './requests.ts'

const size = 2048
const gone = releasedLimit + 500

function churn(book: AddressBook): void {
  const agent = new FolderAgent(book, [pool('p', ['10.0.0.0/21'])])
  const names = (stem: string, count: number): readonly string[] => Array.from({ length: count }, (_, i) => stem + i)
  for (const stem of ['a', 'b']) {
    agent.put(...names(stem, gone).map((name) => request(name)))
    agent.remove(...names(stem, gone))
  }
  // Whoever is gone longest gave way: the whole pool is there for who comes.
  agent.put(...names('new', size).map((name) => request(name)))
  assert.equal(new Set([...agent.all().values()].map(([address]) => address)).size, size)
  agent.put(request('late'))
  assert.equal(agent.of('late'), '')
  agent.remove('new7')
  assert.notEqual(agent.of('late'), '')
}

test('addresses of Services that a book in memory forgot are given to others', () => churn(new MemoryBook()))

test('addresses of Services that a book in a folder forgot are given to others', () =>
  inFolder((folder) => churn(openFileBook(folder, `${folder}/state`))))
