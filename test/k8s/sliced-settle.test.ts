/** What an agent hears while it is in the middle of settling addresses counts, wherever that is, and as if after it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DesiredService } from '../../src/desired/model.ts'
import type { Translator } from '../../src/k8s/translate/types.ts'
import { deliver, node, pool, service, slice, smallestPolicy, translatorWith } from './manifests.ts'

const names = Array.from({ length: 12 }, (_, i) => `s${i}`)
/** One that waits, one that names an address, one that is none of a load balancer, and a plain one. */
const kinds = [
  (name: string) => service(name),
  (name: string) => service(name, '', '{lbipam.cilium.io/ips: 198.51.100.5}'),
  (name: string) => service(name).replace('type: LoadBalancer', 'type: ClusterIP'),
  (name: string) => service(name, ', ipFamilies: [IPv6], ipFamilyPolicy: SingleStack'),
] as const
const pools = [pool, pool.replace('/28', '/30'), pool.replace('198.51.100.0/28', '198.51.100.8/29')] as const

const event = fc.record({
  after: fc.nat(6),
  what: fc.oneof(
    fc.record({ name: fc.constantFrom(...names), kind: fc.nat(kinds.length - 1) }),
    fc.record({ name: fc.constantFrom(...names) }),
    fc.record({ pool: fc.nat(pools.length - 1) }),
    fc.constant({ policy: 'peerASN: 65009' }),
  ),
})

/** As the agent holds it. */
class Held {
  readonly services = new Map<string, DesiredService>()
  peers = 0

  take(translator: Translator): void {
    const { services, speaker } = translator.flush()
    if (speaker !== undefined) this.peers = speaker.neighbors[0]?.peerAsn ?? 0
    for (const [key, found] of services)
      if (found === undefined) this.services.delete(key)
      else this.services.set(key, found)
  }
}

test('Services, pools and policies that change in the middle of a settle end as they are at last, each address once', () => {
  let between = 0
  fc.assert(
    fc.property(fc.array(event, { maxLength: 12 }), (events) => {
      let nowMs = 0
      const text = smallestPolicy + node + pool + names.map((name) => service(name)).join('')
      const translator = translatorWith(text, { nowMs: () => (nowMs += 2) })
      const held = new Held()
      const asked = new Map<string, number>(names.map((name) => [name, 0]))
      let [inPool, peerAsn] = [pools[0] as string, 65000]
      for (const { after, what } of events) {
        for (let i = 0; i < after; i++) held.take(translator)
        if (translator.hasMore) between++
        if ('pool' in what) deliver(translator, (inPool = pools[what.pool] ?? pool))
        else if ('policy' in what) {
          peerAsn = 65009
          deliver(translator, smallestPolicy.replace('peerASN: 65000', what.policy))
        } else if ('kind' in what) {
          asked.set(what.name, what.kind)
          deliver(translator, kinds[what.kind]?.(what.name) ?? '')
        } else {
          asked.delete(what.name)
          translator.remove({ apiVersion: 'v1', kind: 'Service', namespace: 'default', name: what.name })
        }
      }
      do held.take(translator)
      while (translator.hasMore)
      assert.equal(held.peers, peerAsn)
      const owners = new Map<string, string>()
      for (const [key, { addresses }] of held.services)
        for (const address of addresses) {
          assert.equal(owners.get(address), undefined, `${address} of ${key} and ${owners.get(address)}`)
          owners.set(address, key)
          assert.equal(asked.get(key.slice('default/'.length)) === 2, false, `${key} is no load balancer`)
        }
      for (const key of held.services.keys()) assert.ok(asked.has(key.slice('default/'.length)), `${key} is gone`)
      // Whoever could have a free address has one.
      const size = inPool.includes('/30') ? 4 : inPool.includes('/29') ? 8 : 16
      const plain = [...asked].filter(([, kind]) => kind === 0).map(([name]) => `default/${name}`)
      const served = plain.filter((key) => held.services.get(key)?.addresses.length === 1)
      assert.ok(served.length === plain.length || owners.size === size, `${owners.size} of ${size} are given`)
    }),
    { numRuns: 120 },
  )
  assert.ok(between > 200, `${between} events in the middle`)
})

test('one that changes all the time, so that there is always something to settle, keeps no other from being heard', () => {
  let nowMs = 0
  const text = smallestPolicy + node + pool + names.map((name) => service(name)).join('')
  const translator = translatorWith(text, { nowMs: () => (nowMs += 2) })
  const held = new Held()
  for (let i = 0; held.services.size < names.length; i++) {
    assert.ok(i < 400, `after ${i} flushes ${held.services.size} Services are there`)
    deliver(translator, service('s0', `, sessionAffinityConfig: {clientIP: {timeoutSeconds: ${10 + i}}}`))
    held.take(translator)
  }
  deliver(translator, service('s5', '', '{lbipam.cilium.io/ips: 198.51.100.14}'))
  for (let i = 0; held.services.get('default/s5')?.addresses[0] !== '198.51.100.14'; i++) {
    assert.ok(i < 400, `after ${i} flushes nobody heard of it`)
    deliver(translator, service('s0', `, sessionAffinityConfig: {clientIP: {timeoutSeconds: ${10 + i}}}`))
    held.take(translator)
  }
})

const changed = (name: string, i: number): string =>
  service(name, `, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: ${10 + i}}}`)
const sliceOf = (name: string, i: number): string => slice(name).replace('10.244.1.5', `10.244.1.${1 + (i % 250)}`)

for (const [what, change] of [
  ['they themselves change', changed],
  ['their pods do', (name: string, i: number) => sliceOf(name, i)],
] as const)
  test(`in a flood in which nothing ever stands still each Service is heard of again and again, when ${what}`, () => {
    let nowMs = 0
    const text = smallestPolicy + node + pool + names.map((name) => service(name) + sliceOf(name, 0)).join('')
    const translator = translatorWith(text, { nowMs: () => (nowMs += 2) })
    const heard = new Map<string, number>()
    let inTheMiddle = 0
    for (let i = 1; i <= 1_200; i++) {
      for (const name of names) deliver(translator, change(name, i))
      for (const key of translator.flush().services.keys()) heard.set(key, (heard.get(key) ?? 0) + 1)
      if (translator.hasMore) inTheMiddle++
    }
    assert.ok(inTheMiddle > 1_000, `there was always more to do: ${inTheMiddle}`)
    for (const name of names)
      assert.ok((heard.get(`default/${name}`) ?? 0) >= 5, `${name} was told ${heard.get(`default/${name}`)} times`)
  })
