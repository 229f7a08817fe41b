/** Which Services want a frontend and whose it is, against a model that remembers everything. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Claims } from '../../src/agent/claims.ts'

const services = ['shop/a', 'shop/b', 'shop/c'] as const
const frontends = ['203.0.113.1/TCP/80', '203.0.113.1/TCP/443', '203.0.113.2/UDP/53', '203.0.113.3/TCP/80'] as const

test('a frontend that two want stays with its owner until that one is settled, and the next is known by name', () => {
  const claims = new Claims()
  const [web] = frontends
  claims.want('shop/b', [web])
  claims.own(web, 'shop/b')
  claims.want('shop/a', [web])
  assert.deepEqual([claims.on(web), claims.owner(web)], [['shop/a', 'shop/b'], 'shop/b'])
  claims.want('shop/b', [])
  // It may still be in the kernel for its former owner, which has to give it up first.
  assert.deepEqual([claims.on(web), claims.owner(web), claims.of('shop/b')], [['shop/a'], 'shop/b', [web]])
  claims.own(web, 'shop/a')
  claims.settle('shop/b')
  assert.deepEqual([claims.owner(web), claims.of('shop/b'), claims.of('shop/a')], ['shop/a', [], [web]])
  claims.own(web, undefined)
  assert.equal(claims.owner(web), undefined)
})

const acts = fc.array(
  fc.oneof(
    fc.record({
      do: fc.constant('want' as const),
      service: fc.constantFrom(...services),
      frontends: fc.subarray([...frontends]),
    }),
    fc.record({ do: fc.constant('settle' as const), service: fc.constantFrom(...services) }),
    fc.record({
      do: fc.constant('own' as const),
      frontend: fc.constantFrom(...frontends),
      service: fc.option(fc.constantFrom(...services), { nil: undefined }),
    }),
  ),
  { maxLength: 40 },
)

test('whatever is wanted, owned and settled in whatever order is what a model of sets says', () => {
  fc.assert(
    fc.property(acts, (all) => {
      const claims = new Claims()
      const wanted = new Map<string, readonly string[]>()
      const former = new Map<string, Set<string>>(services.map((service) => [service, new Set()]))
      const owners = new Map<string, string>()
      for (const act of all) {
        if (act.do === 'want') {
          for (const id of wanted.get(act.service) ?? []) former.get(act.service)?.add(id)
          wanted.set(act.service, act.frontends)
          claims.want(act.service, act.frontends)
        } else if (act.do === 'settle') {
          former.get(act.service)?.clear()
          claims.settle(act.service)
        } else {
          if (act.service === undefined) owners.delete(act.frontend)
          else owners.set(act.frontend, act.service)
          claims.own(act.frontend, act.service)
        }
        for (const service of services)
          assert.deepEqual(
            new Set(claims.of(service)),
            new Set([...(wanted.get(service) ?? []), ...(former.get(service) ?? [])]),
          )
        for (const id of frontends) {
          assert.equal(claims.owner(id), owners.get(id))
          assert.deepEqual(
            claims.on(id),
            services.filter((service) => wanted.get(service)?.includes(id)),
            'sorted by name, whoever came first',
          )
        }
      }
    }),
  )
})
