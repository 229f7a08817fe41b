/** Addresses that somebody else gave: read from the status, checked as if they were our own. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  addressesOf,
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
} from '../k8s/manifests.ts'

const base = smallestPolicy + node + pool
const elsewhere = { isAllocatedElsewhere: true }

/** A Service with an address in its status; `age` is its day of creation. */
function given(name: string, address: string | undefined, { age = 1, annotations = '{}' } = {}): string {
  const status = address === undefined ? '' : `status: {loadBalancer: {ingress: [{ip: "${address}"}]}}\n`
  const created = `2026-01-${String(age).padStart(2, '0')}T00:00:00Z`
  return service(name, '', annotations).replace('{name:', `{creationTimestamp: "${created}", name:`) + status
}

test('an address of the status that is in a pool is announced, and none is ever chosen', () => {
  const translator = translatorWith(
    base + given('web', '198.51.100.7') + slice('web') + given('new', undefined) + slice('new'),
    elsewhere,
  )
  const delta = translator.flush()
  assert.deepEqual(addressesOf(delta, 'web', 'new'), ['198.51.100.7', ''])
  assert.deepEqual(
    serviceOf(delta, 'web').routes.map(({ prefix }) => prefix),
    ['198.51.100.7/32'],
  )
  assert.equal(verdictOf(serviceOf(delta, 'new'), 'allocated')?.code, 'NotInStatus')
  const later = change(translator, given('new', '198.51.100.9'))
  assert.deepEqual(addressesOf(later, 'new'), ['198.51.100.9'])
  assert.deepEqual(addressesOf(change(translator, given('new', undefined)), 'new'), [''])
})

for (const [address, code] of [
  ['203.0.113.9', 'NotInPool'],
  ['127.0.0.1', 'NotInPool'],
  ['2001:db8::9', 'NotInPool'],
] as const) {
  test(`${address} in a status that no pool contains is not announced, whoever wrote it`, () => {
    const delta = translatorWith(base + given('web', address) + slice('web'), elsewhere).flush()
    assert.deepEqual(serviceOf(delta, 'web').routes, [])
    assert.equal(verdictOf(serviceOf(delta, 'web'), 'allocated')?.code, code)
  })
}

test('of an address that is not announced no pool is said to be full, which nobody looked at', () => {
  const messageOf = (text: string): string | undefined =>
    verdictOf(serviceOf(translatorWith(base + text + slice('web'), elsewhere).flush(), 'web'), 'allocated')?.message
  const strange = given('web', '203.0.113.9')
  assert.equal(messageOf(strange), '203.0.113.9 of the status is in no pool, and so it is not announced')
  const six = base.replace('{cidr: 198.51.100.0/28}', '{cidr: "2001:db8::/120"}')
  assert.notEqual(six, base)
  const delta = translatorWith(six + given('web', '2001:db8::9') + slice('web'), elsewhere).flush()
  const verdict = verdictOf(serviceOf(delta, 'web'), 'allocated')
  assert.equal(verdict?.code, 'FamilyMismatch')
  const text = '2001:db8::9 of the status is none of the families of the Service, and so it is not announced'
  assert.equal(verdict?.message, text)
})

test('of Services with one address the oldest has it, whatever the order, and the next one after its end', () => {
  const all = [1, 2, 3].map((age) => ({ name: `s${age}`, age }))
  fc.assert(
    fc.property(fc.shuffledSubarray(all, { minLength: 3 }), fc.nat(2), (order, together) => {
      const text = (some: typeof all): string =>
        some.map(({ name, age }) => given(name, '198.51.100.5', { age })).join('')
      const translator = translatorWith(base + text(order.slice(0, together)), elsewhere)
      const held = new Map<string, string>()
      const look = (delta: ReturnType<typeof change>): void => {
        for (const [key, found] of delta.services) held.set(key, found?.addresses.join() ?? '')
      }
      look(translator.flush())
      for (const one of order.slice(together)) look(change(translator, text([one])))
      assert.deepEqual(
        [...held].filter(([, address]) => address !== ''),
        [['default/s1', '198.51.100.5']],
      )
      look(remove(translator, 'Service', 's1'))
      assert.deepEqual(
        [...held].filter(([, address]) => address !== ''),
        [['default/s2', '198.51.100.5']],
      )
    }),
    { numRuns: 20 },
  )
})

test('Services that share by their annotation have the address both', () => {
  const annotations = '{lbipam.cilium.io/sharing-key: k}'
  const other = given('dns', '198.51.100.5', { annotations }).replace('port: 80', 'port: 53')
  const delta = translatorWith(base + given('web', '198.51.100.5', { annotations }) + other, elsewhere).flush()
  assert.deepEqual(addressesOf(delta, 'web', 'dns'), ['198.51.100.5', '198.51.100.5'])
})

test('a pool that comes later gives the address its route', () => {
  const translator = translatorWith(smallestPolicy + node + given('web', '198.51.100.5') + slice('web'), elsewhere)
  assert.deepEqual(addressesOf(translator.flush(), 'web'), [''])
  assert.deepEqual(addressesOf(change(translator, pool), 'web'), ['198.51.100.5'])
})
