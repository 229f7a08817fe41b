/** What explain and lb list say of XDP: which packets of a Service it takes, where, and why not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { earlyServiceView, takenEarly } from '../../src/agent/early-views.ts'
import type { AccelerationStatus } from '../../src/datapath/datapath.ts'
import { type Backend, type Frontend, frontendId, type Protocol, translatedNode } from '../../src/desired/model.ts'

const here: Backend = { address: '10.1.1.5', port: 8080 }
const elsewhere: Backend = { address: '10.1.2.5', port: 8080, node: '192.168.1.12' }
const translated: Backend = { address: '10.1.3.5', port: 8080, node: translatedNode }
const frontend = (backends: readonly Backend[], address = '203.0.113.10', protocol: Protocol = 'TCP'): Frontend => ({
  ...{ id: frontendId(address, protocol, 80), service: 'shop/web', address, protocol, port: 80 },
  backends,
})
const half: AccelerationStatus = {
  wanted: 'native',
  interfaces: [
    { interface: 'eth0', mode: 'native', takes: ['handedOn', 'dropped'], reason: 'echo requests are left to TC: why' },
    { interface: 'eth1', mode: 'none', reason: 'its driver takes no XDP program (EOPNOTSUPP)' },
  ],
}

test('flows to pods of other nodes are taken, those to pods of this one and translated ones are not, and why', () => {
  const why = (each: Frontend): string | undefined => earlyServiceView(half, { frontends: [each] })?.frontends[0]?.why
  assert.equal(why(frontend([here, elsewhere])), undefined)
  assert.equal(why({ ...frontend([here]), resting: [elsewhere] }), undefined)
  assert.equal(why(frontend([])), 'it has no backend on another node')
  assert.equal(why(frontend([here])), 'it has no backend on another node')
  assert.equal(why(frontend([here, translated])), 'all that goes to other nodes is translated (SNAT)')
  assert.equal(why(frontend([translated, elsewhere])), undefined)
  assert.equal(why(frontend([elsewhere], '203.0.113.10', 'SCTP')), 'SCTP is left to TC')
  for (const address of ['0.0.0.0', '::'])
    assert.equal(why(frontend([elsewhere], address)), 'node ports are left to TC')
})

test('explain says what may be taken of each frontend, and what each interface takes; without a flag nothing', () => {
  const frontends = [frontend([elsewhere]), frontend([here], '203.0.113.11'), frontend([elsewhere], '::')]
  const view = earlyServiceView(half, { frontends })
  assert.deepEqual(
    view?.frontends.map(({ takes }) => takes),
    [['handedOn', 'answered', 'dropped'], ['answered', 'dropped'], []],
  )
  assert.deepEqual(view?.interfaces, half.interfaces)
  assert.equal(earlyServiceView({ ...half, problem: 'too old' }, { frontends })?.problem, 'too old')
  assert.equal(earlyServiceView(undefined, { frontends }), undefined)
  assert.equal(earlyServiceView(half, { frontends: [] }), undefined)
})

test('lb list has of each frontend what some interface really takes', () => {
  assert.deepEqual(takenEarly(half)?.(frontend([elsewhere])), ['handedOn', 'dropped'])
  assert.deepEqual(takenEarly(half)?.(frontend([here])), ['dropped'])
  assert.deepEqual(takenEarly({ wanted: 'native', interfaces: [] })?.(frontend([elsewhere])), [])
  assert.equal(takenEarly(undefined), undefined)
})
