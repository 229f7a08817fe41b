/** However much of an object is wrong: ten errors and ten warnings are told of it, and how many more there are. */
import { shortened } from '../../src/k8s/source.ts'
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseObject, type ServedKind } from '../../src/k8s/kinds/table.ts'
import { formatPath, type Fault } from '../../src/k8s/kinds/narrow.ts'
import { problemOf } from '../../src/k8s/kinds/problems.ts'
import { validateManifests } from '../../src/k8s/validate.ts'

const times = <T>(count: number, make: (index: number) => T): readonly T[] =>
  Array.from({ length: count }, (_, index) => make(index))
const keyed = (count: number, name: string, value: unknown): object =>
  Object.fromEntries(times(count, (index) => [`${name}${index}`, value]))
const peer = { myASN: 65001, peerASN: 65000, peerAddress: '192.0.2.1' }
const web = { type: 'LoadBalancer', ports: [{ port: 80 }] }

interface Flood {
  readonly what: string
  readonly kind: ServedKind
  readonly fields: object
  readonly annotations?: object
  readonly told: readonly [severity: Fault['severity'], more: number]
}

const slice = (addresses: (index: number) => readonly unknown[]): object => ({
  addressType: 'IPv4',
  ports: [{ port: 8080 }],
  endpoints: times(1_000, (index) => ({ addresses: addresses(index) })),
})

const floods: readonly Flood[] = [
  {
    what: '100 000 addresses that are none',
    kind: 'EndpointSlice',
    fields: slice((index) => times(100, (each) => `10.300.${index}.${each}`)),
    told: ['warning', 99_990],
  },
  {
    what: '100 000 addresses that are no texts',
    kind: 'EndpointSlice',
    fields: slice(() => times(100, (each) => each)),
    told: ['error', 99_990],
  },
  {
    what: '20 000 fields that nobody knows',
    kind: 'BGPPeer',
    fields: { spec: { ...peer, ...keyed(20_000, 'colour', 1) } },
    told: ['warning', 19_990],
  },
  {
    what: '5 000 communities that are none',
    kind: 'BGPAdvertisement',
    fields: { spec: { communities: times(5_000, (index) => `99999:${index}`) } },
    told: ['error', 4_990],
  },
  {
    what: '9 000 ranges that are none',
    kind: 'IPAddressPool',
    fields: { spec: { addresses: times(9_000, (index) => `198.51.100.300/${index}`) } },
    told: ['error', 8_990],
  },
  {
    what: '600 neighbors without an address',
    kind: 'CiliumBGPPeeringPolicy',
    fields: {
      spec: { nodeSelector: {}, virtualRouters: [{ localASN: 1, neighbors: times(600, (peerASN) => ({ peerASN })) }] },
    },
    // 600 of them, that no neighbor is left, and nothing more.
    told: ['error', 591],
  },
  {
    what: '900 source ranges that are none',
    kind: 'Service',
    fields: { spec: { ...web, loadBalancerSourceRanges: times(900, (index) => `x${index}`) } },
    told: ['error', 890],
  },
  {
    what: '1 000 annotations that nobody reads',
    kind: 'Service',
    fields: { spec: web },
    annotations: keyed(1_000, 'lbipam.cilium.io/colour', 'blue'),
    told: ['warning', 990],
  },
]

for (const { what, kind, fields, annotations, told } of floods)
  test(`${what}: ten are told, and how many more there are`, () => {
    const metadata = { name: 'web', namespace: 'shop', annotations }
    const { faults } = parseObject(kind, { metadata, ...fields }, undefined)
    const own = faults.filter(({ severity }) => severity === told[0])
    assert.equal(own.length, 11)
    const last = own.at(-1)
    assert.deepEqual([last?.message, last?.path], [`${told[1]} more ${told[0]}s of this object are not told`, []])
    assert.ok(faults.length <= 22)
  })

test('ten errors hide no warning, and ten warnings no error', () => {
  const spec = { ...peer, ...keyed(30, 'colour', 1), nodeSelectors: times(30, () => ({ matchLabels: { 'a b': 'c' } })) }
  const { faults } = parseObject('BGPPeer', { metadata: { name: 'tor', namespace: 'lb' }, spec }, undefined)
  assert.deepEqual(
    faults.filter(({ others }) => others !== undefined).map(({ message }) => message.split(' of')[0]),
    ['20 more errors', '20 more warnings'],
  )
  assert.deepEqual([faults[0]?.severity, faults.length], ['error', 22])
})

test('all errors of an object are told in one go where they are ten', () => {
  const ports = times(10, (index) => ({ name: `p${index}`, port: 70_000 + index }))
  const text = JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'shop' },
    spec: { type: 'LoadBalancer', ports },
  })
  const fields = validateManifests([{ name: 'web.json', text }]).map(({ field }) => field)
  assert.deepEqual(
    fields,
    times(10, (index) => `spec.ports[${index}].port`),
  )
})

test('a name of a million letters is shown by its beginning, wherever it is written', () => {
  const long = 'x'.repeat(1_000_000)
  const words = 'not so '.repeat(100_000)
  for (const [kind, spec] of [
    ['BGPPeer', { ...peer, peerAddress: long }],
    ['BGPPeer', { ...peer, [long]: 1 }],
    ['BGPPeer', { ...peer, sourceAddress: words }],
    ['IPAddressPool', { addresses: [long] }],
    ['BGPAdvertisement', { communities: [`large:${long}`], peers: [long, long] }],
    ['CiliumLoadBalancerIPPool', { blocks: [{ cidr: long }] }],
  ] as const) {
    const key = { apiVersion: 'v1', kind, namespace: 'lb', name: 'a' }
    const { faults } = parseObject(kind, { metadata: { name: 'a', namespace: 'lb' }, spec }, undefined)
    assert.ok(faults.length > 0, kind)
    const lengths = faults
      .map((each) => problemOf(each, key, undefined))
      .map(({ field, message, remedy }) => field.length + message.length + remedy.length)
    assert.ok(Math.max(...lengths) < 2_500, `${kind} ${formatPath(faults[0]?.path ?? []).slice(0, 40)}: ${lengths}`)
  }
})

test('what is shortened keeps its end, and half a character is none', () => {
  assert.equal(shortened('a name of five words'), 'a name of five words')
  assert.match(shortened(`${'y'.repeat(400)} is no address`), /^y{317}\.\.\. is no address$/)
  const text = shortened(`${'💥 '.repeat(2_000)}is no address`)
  assert.ok(text.length <= 1_000 && text.isWellFormed() && text.endsWith('is no address'))
})
