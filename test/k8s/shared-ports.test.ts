/** Two Services with one address and port: one owner, the oldest that holds it; the other is told. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { AddressBook } from '../../src/allocation/address-book.ts'
import { MemoryBook } from '../../src/allocation/memory-book.ts'
import type { DesiredService } from '../../src/desired/model.ts'
import {
  change,
  node,
  pool,
  remove,
  service,
  serviceOf,
  slice,
  smallestPolicy,
  translatorWith,
  verdictOf,
} from './manifests.ts'

const base = smallestPolicy + node + pool
const share = '{lbipam.cilium.io/sharing-key: k}'

interface Made {
  readonly port?: number
  readonly created?: string
  readonly annotations?: string
  readonly ip?: string
}

function make(name: string, { port = 80, created = '', annotations = share, ip = '' }: Made = {}): string {
  const text = service(name, '', annotations).replace('port: 80', `port: ${port}`)
  const dated =
    created === '' ? text : text.replace('namespace: default', `namespace: default, creationTimestamp: "${created}"`)
  return `${dated}${ip === '' ? '' : `status: {loadBalancer: {ingress: [{ip: ${ip}}]}}\n`}${slice(name)}`
}

const ids = (found: DesiredService | undefined): readonly string[] => (found?.frontends ?? []).map(({ id }) => id)
const allocated = (found: DesiredService): readonly unknown[] => {
  const verdict = verdictOf(found, 'allocated')
  return [verdict?.ok, verdict?.code, /default\/\w+/.exec(verdict?.message ?? '')?.[0]]
}

test('an address in two statuses, without sharing: the older one has it, and the other is told by name', () => {
  for (const [first, second] of [
    ['2026-01-02T00:00:00Z', '2026-01-01T00:00:00Z'],
    ['2026-01-01T00:00:00+02:00', '2026-01-01T00:00:00Z'],
  ] as const) {
    const text = (name: string, created: string): string =>
      make(name, { created, annotations: '{}', ip: '198.51.100.5' })
    const isFirstOlder = Date.parse(first) < Date.parse(second)
    const [older, younger] = isFirstOlder ? ['aaa', 'bbb'] : ['bbb', 'aaa']
    for (const order of [text('aaa', first) + text('bbb', second), text('bbb', second) + text('aaa', first)]) {
      const delta = translatorWith(base + order).flush()
      assert.deepEqual(ids(serviceOf(delta, older)), ['198.51.100.5:80/TCP'])
      assert.deepEqual(allocated(serviceOf(delta, younger)), [false, 'AlreadyAllocated', `default/${older}`])
      assert.deepEqual([ids(serviceOf(delta, younger)), serviceOf(delta, younger).routes], [[], []])
    }
  }
})

test('two lines of the record with one address: the older Service has it, the other gets another and is told', () => {
  const book = new MemoryBook(
    new Map([
      ['default/aaa', { addresses: ['198.51.100.5'] }],
      ['default/bbb', { addresses: ['198.51.100.5'] }],
    ]),
  )
  const text = make('bbb', { created: '2026-01-01T00:00:00Z', annotations: '{}' }) + make('aaa', { annotations: '{}' })
  const delta = translatorWith(base + text, { addressBook: book }).flush()
  assert.deepEqual(serviceOf(delta, 'bbb').addresses, ['198.51.100.5'])
  assert.deepEqual(serviceOf(delta, 'aaa').addresses, ['198.51.100.0'])
  assert.match(verdictOf(serviceOf(delta, 'aaa'), 'allocated')?.message ?? '', /198.51.100.5 belongs to default\/bbb/)
})

test('a port that comes to meet another on a shared address stays with the older Service, and is got when it goes', () => {
  const translator = translatorWith(base + make('aaa') + make('bbb', { port: 443 }))
  translator.flush()
  const met = change(translator, make('bbb', { port: 80 }))
  assert.deepEqual([serviceOf(met, 'bbb').addresses, ids(serviceOf(met, 'bbb'))], [['198.51.100.0'], []])
  assert.deepEqual(allocated(serviceOf(met, 'bbb')), [false, 'PortTaken', 'default/aaa'])
  const gone = remove(translator, 'Service', 'aaa')
  assert.deepEqual(gone.services.get('default/aaa'), undefined)
  assert.deepEqual(ids(serviceOf(gone, 'bbb')), ['198.51.100.0:80/TCP'], 'the end of one gives it to the other')
})

test('a port that is added while the record takes nothing is not served: it may be another one by now', () => {
  const memory = new MemoryBook()
  let outcome: 'recorded' | 'failed' = 'recorded'
  const addressBook: AddressBook = {
    warning: undefined,
    *exchange(choose) {
      return outcome === 'recorded' ? yield* memory.exchange(choose) : outcome
    },
    peek: () => memory.peek(),
  }
  const [old, young] = ['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z']
  const text = make('aaa', { created: young }) + make('bbb', { created: old, port: 443 })
  const translator = translatorWith(base + text, { addressBook })
  translator.flush()
  outcome = 'failed'
  const two = make('bbb', { created: old, port: 443 }).replace('port: 443}', 'port: 443}, {name: more, port: 80}')
  const met = serviceOf(change(translator, two), 'bbb')
  assert.deepEqual(ids(met), ['198.51.100.0:443/TCP'])
  assert.match(verdictOf(met, 'allocated')?.message ?? '', /port 80\/TCP of 198\.51\.100\.0 is not recorded for it yet/)
  outcome = 'recorded'
  assert.deepEqual(allocated(serviceOf(change(translator, two), 'bbb')), [true, 'SomePortsTaken', 'default/aaa'])
})

test('an older Service takes no port of a shared address by naming the address as an external IP', () => {
  const advertisement = smallestPolicy.replace(
    'neighbors:',
    'serviceAdvertisements: [LoadBalancerIP, ExternalIP]\n    neighbors:',
  )
  const old = '2026-01-01T00:00:00Z'
  const guest = make('bbb', { created: old, port: 443 })
  const translator = translatorWith(advertisement + node + pool + make('aaa') + guest)
  translator.flush()
  const two = guest
    .replace('port: 443}', 'port: 443}, {name: more, port: 80}')
    .replace('spec: {', 'spec: {externalIPs: [198.51.100.0], ')
  assert.match(two, /externalIPs/)
  const met = change(translator, two)
  assert.deepEqual(ids(serviceOf(met, 'bbb')), ['198.51.100.0:443/TCP'])
})

test('of several ports only the one that an older Service has is missing', () => {
  const translator = translatorWith(base + make('aaa') + make('bbb', { port: 443 }))
  translator.flush()
  const two = make('bbb', { port: 443 }).replace(
    '{name: http, port: 443}',
    '{name: http, port: 443}, {name: more, port: 80}',
  )
  const met = serviceOf(change(translator, two), 'bbb')
  assert.deepEqual(ids(met), ['198.51.100.0:443/TCP'])
  assert.deepEqual(allocated(met), [true, 'SomePortsTaken', 'default/aaa'])
})

test('whatever Services come, change and go: no frontend is ever that of two of them', () => {
  const step = fc.record({
    name: fc.constantFrom('aaa', 'bbb', 'ccc'),
    isThere: fc.boolean(),
    port: fc.constantFrom(80, 443),
    created: fc.constantFrom('', '2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'),
    annotations: fc.constantFrom(share, share, '{}'),
    ip: fc.constantFrom('', '198.51.100.3'),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 14 }), (steps) => {
      const translator = translatorWith(base)
      const now = new Map<string, DesiredService>()
      for (const { name, isThere, ...made } of steps) {
        const delta = isThere ? change(translator, make(name, made)) : remove(translator, 'Service', name)
        for (const [key, found] of delta.services)
          if (found === undefined) now.delete(key)
          else now.set(key, found)
        const all = [...now.values()].flatMap((found) => ids(found))
        assert.equal(new Set(all).size, all.length)
      }
    }),
    { numRuns: 60 },
  )
})
