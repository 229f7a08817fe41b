/** An address is announced while a port of it has a backend of its own family (contracts: as MetalLB counts). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredService, Verdict } from '../../src/desired/model.ts'
import { endpointsOf, parseEndpointSlice, podAt } from '../../src/k8s/kinds/endpoint-slice.ts'
import { formatAddress, parseAddress } from '../../src/ip/address.ts'
import { change, node, pool, service, serviceOf, smallestPolicy, translatorWith, verdictOf } from './manifests.ts'

const base = smallestPolicy + node + pool
const dual = base + pool.replace('name: pool', 'name: six').replace('198.51.100.0/28', '"2001:db8::/64"')

interface SliceText {
  readonly name?: string
  readonly type?: string
  readonly endpoints?: string
  readonly ports?: string
}

const ready = '{addresses: [10.244.1.5], nodeName: node-a}'

function sliceText({
  name = 'web-1',
  type = 'IPv4',
  endpoints = ready,
  ports = '[{name: http, port: 8080}]',
}: SliceText): string {
  return `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ${name}, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: ${type}
endpoints: [${endpoints}]
ports: ${ports}
`
}

const ports = (text: string, more = ''): string => service('web', more).replace('{name: http, port: 80}', text)
const translated = (text: string, datapath: 'ebpf' | 'none' = 'ebpf'): DesiredService =>
  serviceOf(translatorWith(text, { datapath }).flush(), 'web')
const eligible = (found: DesiredService): Verdict | undefined => verdictOf(found, 'eligible')
const prefixes = (found: DesiredService): readonly string[] => found.routes.map(({ prefix }) => prefix)

test('an endpoint that no port of the Service leads to announces nothing, and the verdict says which is missing', () => {
  const named = ports('{name: tcp-80, protocol: TCP, port: 80}')
  const cases: readonly (readonly [SliceText, string, RegExp])[] = [
    [{ ports: '[]' }, 'NoMatchingPort', /^1 ready endpoint, but its slice has no port tcp-80\/TCP$/],
    [{ ports: 'null' }, 'NoMatchingPort', /no port tcp-80\/TCP/],
    [{ ports: '[{name: metrics, port: 9090}]' }, 'NoMatchingPort', /no port tcp-80\/TCP/],
    [{ ports: '[{name: tcp-80, protocol: UDP, port: 8080}]' }, 'NoMatchingPort', /no port tcp-80\/TCP/],
    [{ ports: '[{name: tcp-80}]' }, 'NoMatchingPort', /no port tcp-80\/TCP/],
    [{ ports: '[{port: 8080}]' }, 'NoMatchingPort', /no port tcp-80\/TCP/],
    [
      { type: 'IPv6', endpoints: '{addresses: ["fd00::5"], nodeName: node-a}', ports: '[{name: tcp-80, port: 8080}]' },
      'NoEndpointOfFamily',
      /1 ready endpoint, but only of type IPv6, and the address is IPv4/,
    ],
    [
      { type: 'FQDN', endpoints: '{addresses: [web.example], nodeName: node-a}' },
      'NoEndpointOfFamily',
      /only of type FQDN/,
    ],
    [{ endpoints: '{addresses: [10.244.1.5]}' }, 'EndpointsWithoutNode', /no slice says on which node/],
    [{ endpoints: '{addresses: [10.244.2.5], nodeName: node-b}' }, 'NoLocalBackends', /on node-a, 1 elsewhere/],
    [{ endpoints: '' }, 'NoBackends', /there is none/],
    [
      { endpoints: '{addresses: [10.244.1.5], nodeName: node-a, conditions: {ready: false}}' },
      'NoBackends',
      /1 known, none ready/,
    ],
  ]
  for (const [slice, code, message] of cases) {
    const found = translated(base + named + sliceText(slice))
    const verdict = eligible(found)
    assert.deepEqual([prefixes(found), verdict?.ok, verdict?.code], [[], false, code], JSON.stringify(slice))
    assert.match(verdict?.message ?? '', message)
  }
  const right = translated(base + named + sliceText({ ports: '[{name: tcp-80, protocol: "", port: 8080}]' }))
  assert.deepEqual([prefixes(right).length, eligible(right)?.code], [1, 'HasLocalBackends'])
})

test('a port without a name is met by a slice port without one, or with an empty one', () => {
  for (const text of ['[{port: 8080}]', '[{name: "", port: 8080}]', '[{name: null, port: 8080}]'])
    assert.equal(prefixes(translated(base + ports('{port: 80}') + sliceText({ ports: text }))).length, 1)
  assert.match(
    eligible(translated(base + ports('{port: 80}') + sliceText({})))?.message ?? '',
    /\(without a name\)\/TCP/,
  )
})

test('one of two ports without a backend: announced, and the verdict names the port', () => {
  const two = ports('{name: http, port: 80}, {name: metrics, port: 9090}')
  const found = translated(base + two + sliceText({}))
  assert.deepEqual(prefixes(found), ['198.51.100.0/32'])
  assert.deepEqual(
    found.frontends.map(({ id, backends }) => [id, backends.length]),
    [
      ['198.51.100.0:80/TCP', 1],
      ['198.51.100.0:9090/TCP', 0],
    ],
  )
  assert.deepEqual([eligible(found)?.ok, eligible(found)?.code], [true, 'SomePortsWithoutBackend'])
  assert.match(eligible(found)?.message ?? '', /port 9090 \(metrics\/TCP\) of 198.51.100.0 has no backend here/)
})

test('each address counts the endpoints of its own family', () => {
  const six = sliceText({ name: 'web-6', type: 'IPv6', endpoints: '{addresses: ["fd00::5"], nodeName: node-a}' })
  const both = service('web', ', ipFamilyPolicy: RequireDualStack')
  for (const [slices, expected] of [
    [six, ['2001:db8::/128']],
    [sliceText({}), ['198.51.100.0/32']],
    [six + sliceText({}), ['198.51.100.0/32', '2001:db8::/128']],
  ] as const)
    assert.deepEqual(prefixes(translated(dual + both + slices, 'none')), expected)
  const only = translated(dual + both + six, 'none')
  assert.match(eligible(only)?.message ?? '', /198.51.100.0 has no IPv4 backend here and is not announced/)
})

test('under --datapath none and Cluster an endpoint on any node counts, if a port leads to it', () => {
  const away = '{addresses: [10.244.2.5], nodeName: node-b}'
  assert.equal(prefixes(translated(base + service('web') + sliceText({ endpoints: away }), 'none')).length, 1)
  assert.equal(
    prefixes(translated(base + service('web') + sliceText({ endpoints: away, ports: '[{name: x, port: 1}]' }), 'none'))
      .length,
    0,
  )
  const nodeless = sliceText({ endpoints: '{addresses: [10.244.2.5]}' })
  assert.equal(prefixes(translated(base + service('web') + nodeless, 'none')).length, 1)
  assert.equal(
    prefixes(translated(base + service('web', ', externalTrafficPolicy: Local') + nodeless, 'none')).length,
    0,
  )
})

test('conditions count as in the table of MetalLB: ready or nothing said, or serving', () => {
  const values = ['true', 'false', 'null', undefined]
  for (const readyText of values)
    for (const serving of values)
      for (const terminating of values) {
        const said = Object.entries({ ready: readyText, serving, terminating })
          .flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]))
          .join(', ')
        const slice = sliceText({ endpoints: `{addresses: [10.244.1.5], nodeName: node-a, conditions: {${said}}}` })
        const counts = readyText !== 'false' || serving === 'true'
        assert.equal(prefixes(translated(base + service('web') + slice)).length, counts ? 1 : 0, said)
      }
  assert.equal(
    prefixes(
      translated(
        base +
          service('web') +
          sliceText({ endpoints: `{addresses: [10.244.1.5], nodeName: node-a, conditions: null}` }),
      ),
    ).length,
    1,
  )
})

test('several slices with the same endpoint give one backend, sorted as numbers, and count it once', () => {
  const many = ['10.244.1.10', '10.244.1.9', '10.244.1.9'].map((ip) => `{addresses: [${ip}], nodeName: node-a}`)
  const away = '{addresses: [10.244.2.9], nodeName: node-b}'
  const found = translated(
    base +
      service('web') +
      sliceText({ name: 'web-1', endpoints: [...many, away].join() }) +
      sliceText({ name: 'web-2', endpoints: [many[0], away].join() }),
  )
  assert.deepEqual(
    found.frontends[0]?.backends.map(({ address }) => address),
    ['10.244.1.9', '10.244.1.10'],
  )
  assert.deepEqual([found.remoteBackends, eligible(found)?.message], [1, '2 usable backends on node-a'])
})

test('an endpoint whose address is none of the type of its slice is left out with a warning', () => {
  const translator = translatorWith(base + service('web') + sliceText({}))
  translator.flush()
  const delta = change(
    translator,
    sliceText({
      endpoints: `${ready}, {addresses: ["fd00::5"], nodeName: node-a}, {addresses: [10.0.0], nodeName: node-a}`,
    }),
  )
  assert.deepEqual(
    delta.problems?.map(({ severity, code, field }) => [severity, code, field]),
    [
      ['warning', 'InvalidAddress', 'endpoints[1].addresses[0]'],
      ['warning', 'InvalidAddress', 'endpoints[2].addresses[0]'],
    ],
  )
})

/** What is no endpoint, by the type of the slice that names it. */
const nobodies = {
  IPv4: ['0.0.0.0', '127.0.0.1', '169.254.1.2', '224.0.0.5', '239.1.1.1', '::ffff:127.0.0.1', '2001:db8::5'],
  IPv6: ['::', '::1', 'fe80::5', 'febf::1', 'ff02::1', 'ff0e::1', '::ffff:10.244.1.5', '10.244.1.5', '2001:db8::%e'],
}
for (const [addressType, list] of Object.entries(nobodies))
  for (const wrong of list)
    test(`an endpoint ${wrong} of a slice of type ${addressType} is left out by itself, with a warning`, () => {
      const good = addressType === 'IPv4' ? '10.244.1.5' : 'fd00::5'
      const raw = {
        metadata: { name: 's', labels: { 'kubernetes.io/service-name': 'web' } },
        addressType,
        endpoints: [wrong, good].map((address) => ({ addresses: [address], nodeName: 'node-a' })),
      }
      const { value, faults } = parseEndpointSlice(raw)
      assert.deepEqual(
        faults.map(({ severity, code, path }) => [severity, code, path.join('.')]),
        [['warning', 'InvalidAddress', 'endpoints.0.addresses.0']],
      )
      assert.deepEqual(value && endpointsOf(value).map(({ address }) => formatAddress(address ?? 0)), [good])
    })

test('an IPv4 address that is written as mapped is an endpoint of a slice of IPv4, as the API server takes it', () => {
  const { value, faults } = parseEndpointSlice({
    metadata: { name: 's', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['::ffff:10.244.1.5'], nodeName: 'node-a' }],
  })
  assert.deepEqual(faults, [])
  assert.deepEqual(value && endpointsOf(value).map(({ address }) => formatAddress(address ?? 0)), ['10.244.1.5'])
})

test('what is kept of a slice is packed, and says the same', () => {
  const endpoints = [
    { addresses: ['10.244.1.5', '10.244.1.6'], nodeName: 'node-a' },
    { addresses: ['255.255.255.255'], conditions: { ready: false, serving: true, terminating: true } },
    { addresses: ['0.0.0.1'], nodeName: 'node-b', conditions: { ready: false } },
  ]
  const raw = {
    metadata: { name: 's', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints,
  }
  const { value } = parseEndpointSlice(raw)
  assert.equal(value?.packed.length, 16)
  assert.deepEqual(
    value &&
      endpointsOf(value).map(({ address, nodeName, state }) => ({
        address: formatAddress(address ?? 0),
        nodeName,
        state,
      })),
    [
      { address: '10.244.1.5', nodeName: 'node-a', state: 'ready' },
      { address: '10.244.1.6', nodeName: 'node-a', state: 'ready' },
      { address: '255.255.255.255', nodeName: '', state: 'serving' },
      { address: '0.0.0.1', nodeName: 'node-b', state: 'not' },
    ],
  )
  const six = parseEndpointSlice({ ...raw, addressType: 'IPv6', endpoints: [{ addresses: ['2001:DB8::1', 'fd00::'] }] })
  assert.deepEqual(six.value && endpointsOf(six.value).map(({ address }) => formatAddress(address ?? 0)), [
    '2001:db8::1',
    'fd00::',
  ])
})

test('the pod behind an address is told, and no reference to one costs an endpoint or moves the name of another', () => {
  const references: readonly unknown[] = [
    { kind: 'Pod', name: 'web-0' },
    { kind: 'Pod', name: 'a\nb\nc' },
    { kind: 'Node', name: 'node-a' },
    { kind: 'Pod', name: 7 },
    'web-0',
    null,
    undefined,
    { kind: 'Pod', name: '\u001b[2J' },
    { kind: 'Pod', name: 'web-1' },
  ]
  const { value, faults } = parseEndpointSlice({
    metadata: { name: 's', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: references.map((targetRef, index) => ({ addresses: [`10.244.1.${index}`], targetRef })),
  })
  assert.deepEqual(faults, [])
  assert.deepEqual(
    references.map((_, index) => value && podAt(value, parseAddress(`10.244.1.${index}`) ?? 0)),
    ['web-0', ...Array.from({ length: 7 }, () => undefined), 'web-1'],
  )
})

test('an endpoint that a slice names but that takes nothing new rests: not ready, or ending beside a ready one', () => {
  const states = [
    ['{ready: true}', 'local'],
    ['{ready: false, serving: true, terminating: true}', 'rests'],
    ['{ready: false, serving: false, terminating: true}', 'rests'],
    ['{ready: false}', 'rests'],
  ] as const
  const endpoints = (said: readonly string[]): string =>
    said.map((conditions, n) => `{addresses: [10.244.1.${n}], nodeName: node-a, conditions: ${conditions}}`).join(', ')
  const [web] = [
    serviceOf(
      translatorWith(base + service('web') + sliceText({ endpoints: endpoints(states.map(([said]) => said)) })).flush(),
      'web',
    ),
  ]
  const [frontend] = web.frontends
  const addresses = (wanted: string): readonly string[] =>
    states.flatMap(([, where], n) => (where === wanted ? `10.244.1.${n}` : []))
  assert.deepEqual(
    frontend?.backends.map(({ address }) => address),
    addresses('local'),
  )
  assert.deepEqual(
    frontend?.resting?.map(({ address }) => address),
    addresses('rests'),
  )
  const idle = serviceOf(
    translatorWith(base + service('web') + sliceText({ endpoints: endpoints(['{ready: false}']) })).flush(),
    'web',
  )
  assert.deepEqual([idle.routes, idle.frontends[0]?.backends], [[], []], 'nothing is announced')
  assert.deepEqual(idle.frontends[0]?.resting, [{ address: '10.244.1.0', port: 8080 }], 'and the kernel keeps it')
})
