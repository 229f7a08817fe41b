/** Lists in pages: what they have in whatever pages they come, and their end, also where the server knows none. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readOnce, readPages } from '../../../src/k8s/apiserver/inventory.ts'
import { Pages } from '../../../src/k8s/apiserver/pages.ts'
import type { Reply } from '../../../src/k8s/apiserver/requests.ts'

const reply = (object: object, status = 200): Reply => ({
  status,
  object: { ...object },
  message: status === 200 ? '' : `the API server answers ${status}`,
  retryAfterSec: undefined,
})
const tokenIn = (path: string): string => new URLSearchParams(path.slice(path.indexOf('?'))).get('continue') ?? ''
const named = (name: string): object => ({ metadata: { name } })
const things = { kind: 'Thing', versions: ['example.org/v1'], place: 'things' }
const noEnd = { code: 'ERR_API_SERVER', message: /a list without an end/ }

test('a list is the same in whatever pages it comes, empty ones among them', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(fc.string(), { maxLength: 4 }), { minLength: 1, maxLength: 6 }), async (all) => {
      const asked: string[] = []
      const get = (path: string): Promise<Reply> => {
        asked.push(path)
        const at = Number(tokenIn(path) || 0)
        const more = at + 1 < all.length ? String(at + 1) : ''
        return Promise.resolve(reply({ metadata: { continue: more }, items: all[at]?.map(named) }))
      }
      const { items } = await readPages({ get }, '/apis/example.org/v1/things', 'labelSelector=a', 7)
      assert.deepEqual(items, all.flat().map(named))
      assert.equal(asked.length, all.length)
      for (const path of asked) assert.match(path, /\?labelSelector=a&limit=7(&continue=\d+)?$/)
    }),
  )
})

test('a server that names the same next page again is no end of requests, but a fault', async () => {
  let asked = 0
  const get = (): Promise<Reply> => {
    asked++
    return Promise.resolve(reply({ metadata: { continue: 'again' }, items: [named('a')] }))
  }
  await assert.rejects(readOnce({ get }, things), noEnd)
  assert.equal(asked, 2)
})

test('a server that always has another page, empty or full, is a fault after a bounded number of them', () => {
  for (const [items, pagesAtMost] of [
    [0, 20_000],
    [500, 2_001],
    [1_000_001, 1],
  ] as const) {
    const pages = new Pages()
    let count = 0
    const turn = (): void => {
      for (;;) pages.next(`token ${count++}`, items)
    }
    assert.throws(turn, noEnd)
    assert.ok(count <= pagesAtMost, `${items}: ${count}`)
  }
})

test('what is no token is the last page, and 100 000 objects in pages of 50 are read', () => {
  for (const last of ['', undefined, null, 7, {}]) assert.equal(new Pages().next(last, 50), '')
  const pages = new Pages()
  for (let page = 0; page < 2_000; page++) assert.equal(pages.next(`token ${page}`, 50), `token ${page}`)
  assert.equal(pages.next('', 50), '')
})

test('a page that fails is a failure with what was read before, and one that is gone is none of this version', async () => {
  const failing =
    (status: number) =>
    (path: string): Promise<Reply> =>
      Promise.resolve(
        tokenIn(path) === '' ? reply({ metadata: { continue: '1' }, items: [named('a')] }) : reply({}, status),
      )
  const { objects, failure } = await readOnce({ get: failing(403) }, things)
  assert.deepEqual([objects.length, failure?.status], [1, 403])
  assert.deepEqual(await readOnce({ get: failing(404) }, things), { objects: [] })
  await assert.rejects(readOnce({ get: failing(0) }, things), { code: 'ERR_API_SERVER' })
})

test('one object is asked for by its path alone', async () => {
  const asked: string[] = []
  const get = (path: string): Promise<Reply> => {
    asked.push(path)
    return Promise.resolve(asked.length === 1 ? reply({}, 404) : reply(named('a')))
  }
  const one = { ...things, versions: ['example.org/v2', 'example.org/v1'], place: 'things/a', isSingle: true }
  assert.deepEqual(await readOnce({ get }, one), {
    objects: [{ apiVersion: 'example.org/v1', kind: 'Thing', ...named('a') }],
  })
  assert.deepEqual(asked, ['/apis/example.org/v2/things/a', '/apis/example.org/v1/things/a'])
})
