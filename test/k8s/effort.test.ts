/** Work per event is work per change, and the work of one turn is bounded. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { change, deliver, flushAll, node, pool, service, slice, smallestPolicy, translatorWith } from './manifests.ts'

const all = smallestPolicy + node + pool + service('web') + slice('web')
const nothing = { services: new Map() }

test('what changes nothing costs nothing: heartbeats, other Secrets, other nodes, labels that no selector names', () => {
  const translator = translatorWith('')
  // One by one, since where an object is written is part of what is shown of it.
  for (const text of [smallestPolicy, node, pool, service('web'), slice('web')]) deliver(translator, text)
  translator.flush()
  const beat = node.replace('status: {', 'status: {conditions: [{type: Ready, lastHeartbeatTime: "12:00"}], ')
  const secret = '---\napiVersion: v1\nkind: Secret\nmetadata: {name: other, namespace: kube-system}\ndata: {a: eA==}\n'
  for (const text of [
    beat,
    beat.replace('12:00', '12:10'),
    secret,
    secret.replace('eA==', 'eB=='),
    node.replace('node-a', 'node-z'),
    node.replace('labels: {', 'labels: {rack: "7", '),
    service('web').replace('labels: {', 'labels: {team: blue, '),
    slice('web').replace('labels: {', 'labels: {checked: "yes", '),
    smallestPolicy.replace('name: bgp-peering', 'name: bgp-peering, labels: {a: b}'),
  ])
    assert.deepEqual(change(translator, text), nothing, text)
})

test('a key or a timer of a neighbor costs the speaker, and no Service', () => {
  const keyed = smallestPolicy.replace('peerASN: 65000', 'peerASN: 65000, authSecretRef: tor')
  const secret = (key: string): string =>
    `---\napiVersion: v1\nkind: Secret\nmetadata: {name: tor, namespace: kube-system}\nstringData: {password: ${key}}\n`
  const translator = translatorWith(all.replace(smallestPolicy, keyed) + secret('one'))
  translator.flush()
  const delta = change(translator, secret('two'))
  assert.deepEqual([delta.services.size, delta.speaker?.neighbors[0]?.password], [0, 'two'])
  const timers = change(translator, keyed.replace('peerASN: 65000', 'peerASN: 65000, holdTimeSeconds: 30'))
  assert.deepEqual([timers.services.size, timers.speaker?.neighbors[0]?.holdTimeSec], [0, 30])
})

test('a flush takes 256 Services, says that more wait, and the rest follows', () => {
  const many = Array.from({ length: 600 }, (_, i) => service(`s${i}`) + slice(`s${i}`)).join('')
  const translator = translatorWith(smallestPolicy + node + pool.replace('/28', '/16') + many)
  const sizes: number[] = []
  do sizes.push(translator.flush().services.size)
  while (translator.hasMore)
  assert.deepEqual(sizes, [256, 256, 88])
  deliver(
    translator,
    smallestPolicy.replace(
      'peerASN: 65000',
      'peerASN: 65000, advertisedPathAttributes: ' +
        '[{selectorType: CiliumLoadBalancerIPPool, communities: {wellKnown: [no-export]}}]',
    ),
  )
  assert.equal(flushAll(translator).services.size, 600)
})

test('a flush ends after 5 ms of its clock, in the middle of a settle too, and else with at least one Service done', () => {
  let nowMs = 0
  const many = Array.from({ length: 40 }, (_, i) => service(`s${i}`)).join('')
  const translator = translatorWith(smallestPolicy + node + pool.replace('/28', '/24') + many, {
    // Each look at the clock is a millisecond later.
    nowMs: () => nowMs++,
  })
  const sizes: number[] = []
  do {
    const from = nowMs
    sizes.push(translator.flush().services.size)
    assert.ok(nowMs - from <= 12, `${nowMs - from} looks at the clock`)
  } while (translator.hasMore)
  // Who has which address is known before anything is made of it.
  const settling = sizes.findIndex((size) => size > 0)
  assert.ok(settling > 10, `settled in ${settling} flushes`)
  assert.ok(sizes.slice(settling).every((size) => size >= 1 && size <= 5))
  assert.equal(
    sizes.reduce((sum, size) => sum + size, 0),
    40,
  )
})

test('a Service that changes while it waits is translated once, as it is then', () => {
  const many = Array.from({ length: 300 }, (_, i) => service(`s${i}`) + slice(`s${i}`)).join('')
  const translator = translatorWith(smallestPolicy + node + pool.replace('/28', '/16') + many)
  assert.equal(translator.flush().services.size, 256)
  deliver(translator, service('s299', ', loadBalancerClass: example.org/other'))
  const rest = translator.flush()
  assert.deepEqual([rest.services.size, rest.services.get('default/s299')?.routes], [44, []])
})

test('one Service or slice with more than anything real is refused with its number, and what it was stays', () => {
  const list = (count: number, text: (index: number) => string): string =>
    Array.from({ length: count }, (_, index) => text(index)).join(', ')
  const greedy = list(65, (i) => `198.51.100.${i}`)
  const cases: readonly (readonly [string, string])[] = [
    [service('web', '', `{lbipam.cilium.io/ips: "${greedy}"}`), 'metadata.annotations.lbipam.cilium.io/ips'],
    [
      service('web').replace(
        '{name: http, port: 80}',
        list(1001, (i) => `{name: p${i}, port: ${i + 1}}`),
      ),
      'spec.ports',
    ],
    [
      `${service('web')}status: {loadBalancer: {ingress: [${list(65, (i) => `{ip: 198.51.100.${i}}`)}]}}\n`,
      'status.loadBalancer.ingress',
    ],
    [
      slice('web').replace(
        /endpoints: .*/,
        `endpoints: [${list(1001, (i) => `{addresses: [10.1.${i >> 8}.${i & 255}]}`)}]`,
      ),
      'endpoints',
    ],
  ]
  for (const [text, field] of cases) {
    const translator = translatorWith(all)
    flushAll(translator)
    const delta = change(translator, text)
    assert.equal(delta.services.size, 0, field)
    assert.deepEqual(
      delta.problems?.map((problem) => [problem.code, problem.field]),
      [['LimitExceeded', field]],
    )
  }
})

test('another node, or a new address of one, is nothing to the Services unless it is inside a pool', () => {
  const many = Array.from({ length: 600 }, (_, i) => service(`s${i}`)).join('')
  const translator = translatorWith(smallestPolicy + node + pool.replace('/28', '/16') + many)
  flushAll(translator)
  const other = (address: string): string => node.replace('node-a', 'node-z').replace('192.168.1.10', address)
  for (const address of ['192.168.1.77', '192.168.1.78', '10.0.0.1']) {
    change(translator, other(address).replace('podCIDR: 10.244.1.0/24', 'podCIDR: 10.244.9.0/24'))
    assert.equal(translator.hasMore, false, address)
  }
  const delta = change(translator, other('198.51.2.88'))
  assert.equal(translator.hasMore, true)
  assert.match(delta.problems?.at(-1)?.message ?? '', /198\.51\.2\.88 \(the address of node node-z\)/)
})

test('a Namespace that no pool looks at, and a pool that says the same, are nothing to the Services', () => {
  const many = Array.from({ length: 600 }, (_, i) => service(`s${i}`)).join('')
  const translator = translatorWith(smallestPolicy + node + pool.replace('/28', '/16') + many)
  flushAll(translator)
  const namespace = '---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: blue}}\n'
  const said = pool.replace('/28', '/16')
  for (const text of [
    namespace,
    namespace.replace('blue', 'green'),
    said.replace('name: pool', 'name: pool, annotations: {example.org/owner: us}'),
    said.replace('blocks: [', 'disabled: false, blocks: ['),
  ]) {
    change(translator, text)
    assert.equal(translator.hasMore, false, text)
  }
  change(translator, said.replace('/16', '/17'))
  assert.equal(translator.hasMore, true)
})

test('addresses of thousands are settled in parts, and nothing is made of them before the last part', () => {
  const many = Array.from({ length: 300 }, (_, i) => service(`s${i}`)).join('')
  let now = 0
  // Every look at the clock is a flush's time later.
  const translator = translatorWith('', { isAllocatedElsewhere: true, nowMs: () => (now += 5) })
  deliver(translator, smallestPolicy + node + pool + many)
  const sizes: number[] = []
  do sizes.push(translator.flush().services.size)
  while (translator.hasMore)
  const first = sizes.findIndex((size) => size > 0)
  assert.ok(first >= 4, `nothing in ${first} flushes`)
  assert.equal(
    sizes.reduce((sum, size) => sum + size, 0),
    300,
  )
})

test('whom of thousands a policy means is found out in parts', () => {
  const many = Array.from({ length: 300 }, (_, i) => service(`s${i}`) + slice(`s${i}`)).join('')
  let now = 0
  const options = { isAllocatedElsewhere: true, nowMs: () => (now += 5) }
  const translator = translatorWith(smallestPolicy + node + pool + many, options)
  flushAll(translator)
  const attributes = '[{selectorType: CiliumLoadBalancerIPPool, communities: {wellKnown: [no-export]}}]'
  const text = smallestPolicy.replace('peerASN: 65000', `peerASN: 65000, advertisedPathAttributes: ${attributes}`)
  deliver(translator, text)
  let flushes = 1
  for (translator.flush(); translator.hasMore; translator.flush()) flushes++
  // Each Service is told of in a flush of its own, since each takes all the time there is; before that they are found.
  assert.ok(flushes >= 300 + 4, `${flushes} flushes`)
})
