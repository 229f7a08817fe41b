/**
 * What the model promises of itself, on the translation of random worlds: plain values in canonical form, sorted where
 * it says so, and answers that are in the closed tables.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { problemCodes, verdictCodes } from '../../src/desired/codes.ts'
import { type DesiredDelta, frontendId, type Problem, type Protocol, type Verdict } from '../../src/desired/model.ts'
import { addressBytes, formatAddress, parseAddress } from '../../src/ip/address.ts'
import { flushAll, node, policyWith, pool, translatorWith } from '../k8s/manifests.ts'

/** Kubernetes refuses other words as the reason of a condition (metav1.Condition). */
const conditionReason = /^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/

test('a code can be the reason of a condition, and answers yes or no, never both for one step', () => {
  for (const code of Object.keys(problemCodes)) assert.match(code, conditionReason)
  for (const [step, { yes, no }] of Object.entries(verdictCodes)) {
    const all = [...yes, ...no]
    for (const code of all) assert.match(code, conditionReason)
    assert.equal(new Set(all).size, all.length, step)
    for (const code of all) assert.ok(code.length <= 1024 && /^[A-Z]/.test(code), code)
  }
})

test('a code that steps share answers the same in all of them', () => {
  const answers = Object.values(verdictCodes).flatMap(({ yes, no }): readonly (readonly [string, boolean])[] => [
    ...yes.map((code) => [code, true] as const),
    ...no.map((code) => [code, false] as const),
  ])
  for (const [code, all] of Map.groupBy(answers, ([name]) => name))
    assert.equal(new Set(all.map(([, ok]) => ok)).size, 1, code)
})

test('the id of a frontend says address, port and protocol again, and no two frontends share one', () => {
  const octets = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
  )
  const text = octets.map((found) =>
    formatAddress(found.length === 4 ? Buffer.from(found).readUInt32BE() : Buffer.from(found).toString('latin1')),
  )
  fc.assert(
    fc.property(
      text,
      fc.constantFrom<Protocol>('TCP', 'UDP'),
      fc.integer({ min: 1, max: 65535 }),
      (address, protocol, port) => {
        const id = frontendId(address, protocol, port)
        const match = /^(?:\[(?<six>[0-9a-f:.]+)\]|(?<four>[0-9.]+)):(?<port>\d+)\/(?<protocol>TCP|UDP)$/.exec(id)
        const { six, four, ...rest } = match?.groups ?? {}
        assert.deepEqual({ address: six ?? four, ...rest }, { address, port: String(port), protocol })
      },
    ),
  )
})

const community = fc.constantFrom('65001:1', '65001:10', '65001:9', '0:1', '65535:65535', 'no-export')
const large = fc.constantFrom('65001:1:9', '65001:1:10', '1:2:3', '4294967295:0:0')
const neighbor = fc
  .record({
    last: fc.integer({ min: 1, max: 250 }),
    standard: fc.array(community, { maxLength: 3 }),
    large: fc.array(large, { maxLength: 3 }),
    preference: fc.option(fc.constantFrom(0, 100, 4294967295)),
    six: fc.boolean(),
  })
  .map(({ last, standard, large: wide, preference, six }) => {
    const address = six ? `"2001:DB8:0:0::${last.toString(16)}/128"` : `192.168.1.${last}/32`
    const wishes = ['CiliumLoadBalancerIPPool', 'PodCIDR'].map(
      (type) =>
        `{selectorType: ${type}, communities: {standard: [${standard.map((each) => `"${each}"`).join()}], ` +
        `large: [${wide.map((each) => `"${each}"`).join()}]}${preference === null ? '' : `, localPreference: ${preference}`}}`,
    )
    return `{peerAddress: ${address}, peerASN: ${64512 + last}, advertisedPathAttributes: [${wishes.join(', ')}]}`
  })

const often = fc.nat(5).map((number) => number > 0)
const more = fc.constantFrom(
  '',
  '',
  '',
  ', externalTrafficPolicy: Local',
  ', sessionAffinity: ClientIP',
  ', loadBalancerSourceRanges: [192.0.2.0/24]',
  ', loadBalancerClass: example.org/other',
  ', ipFamilies: [IPv6]',
  ', ipFamilyPolicy: RequireDualStack',
  ', loadBalancerIP: 203.0.113.77',
  ', allocateLoadBalancerNodePorts: false',
)
const port = fc.constantFrom(
  '{name: http, port: 80}',
  '{name: http, port: 80}',
  '{name: http, port: 80}',
  '{name: dns, port: 53, protocol: UDP}',
  '{name: sctp, port: 9, protocol: SCTP}',
  '{name: other, port: 65535, targetPort: 1}',
)
const endpoint = fc
  .record({
    last: fc.integer({ min: 1, max: 254 }),
    node: fc.constantFrom('node-a', 'node-a', 'node-b'),
    ready: often,
  })
  .map(
    (each) =>
      `{addresses: [10.244.1.${each.last}], nodeName: ${each.node}, conditions: {ready: ${each.ready}, serving: true}}`,
  )
const service = fc.record({
  ports: fc.uniqueArray(port, { minLength: 1, maxLength: 3 }),
  more,
  labelled: often,
  endpoints: fc.array(endpoint, { maxLength: 8, size: 'max' }),
})

interface World {
  readonly neighbors: readonly string[]
  readonly services: readonly {
    readonly ports: readonly string[]
    readonly more: string
    readonly labelled: boolean
    readonly endpoints: readonly string[]
  }[]
  readonly hasPool: boolean
  readonly datapath: 'ebpf' | 'none'
}

const world: fc.Arbitrary<World> = fc.record({
  neighbors: fc.array(neighbor, { maxLength: 3, size: 'max' }),
  services: fc.array(service, { maxLength: 5, size: 'max' }),
  hasPool: often,
  datapath: fc.constantFrom<'ebpf' | 'none'>('ebpf', 'none'),
})

function translated({ neighbors, services, hasPool, datapath }: World): DesiredDelta {
  const text = services.map(
    (each, i) => `---
apiVersion: v1
kind: Service
metadata: {name: s${i}, namespace: default, labels: {expose-via-bgp: "${each.labelled}"}}
spec: {type: LoadBalancer, ports: [${each.ports.join(', ')}]${each.more}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s${i}-1, namespace: default, labels: {kubernetes.io/service-name: s${i}}}
addressType: IPv4
endpoints: [${each.endpoints.join(', ')}]
ports: [{name: http, port: 8080}, {name: dns, port: 53, protocol: UDP}, {name: other, port: 1}]
`,
  )
  const policy = neighbors.length === 0 ? '' : policyWith(...neighbors)
  return flushAll(translatorWith(policy + node + (hasPool ? pool : '') + text.join(''), { datapath }))
}

const isAscending = (list: readonly (number | string)[] = []): boolean =>
  list.every((each, i) => i === 0 || (list[i - 1] ?? each) < each)

function checkVerdict({ step, ok, code, message, remedy }: Verdict): void {
  const table: Readonly<Record<'yes' | 'no', readonly string[]>> = verdictCodes[step]
  // The first step passes on the code of a problem.
  const isProblem = step === 'valid' && !ok && Object.hasOwn(problemCodes, code)
  assert.ok(isProblem || table[ok ? 'yes' : 'no'].includes(code), `${step} ${ok} ${code}`)
  assert.notEqual(message, '')
  if (!ok) assert.ok(remedy !== undefined && remedy !== '', `${code} without a remedy`)
}

function checkProblem({ code, message, remedy, object, severity }: Problem): void {
  assert.ok(Object.hasOwn(problemCodes, code), code)
  assert.ok(message !== '' && remedy !== '' && object.kind !== '' && /^(error|warning)$/.test(severity), code)
}

const isCanonical = (text: string): boolean => {
  const address = parseAddress(text.replace(/\/\d+$/, ''))
  return address !== undefined && formatAddress(address) === text.replace(/\/\d+$/, '')
}

/** By octets, then port. */
const ranked = ({ address, port: number }: { readonly address: string; readonly port: number }): string =>
  `${Buffer.from(addressBytes(parseAddress(address) ?? 0)).toString('hex')} ${String(number).padStart(5, '0')}`

test('everything in a delta is plain and as the model says it is, whatever the objects say', () => {
  const seen = { routes: 0, lists: 0, backends: 0 }
  fc.assert(
    fc.property(world, (made) => {
      const delta = translated(made)
      assert.deepEqual(structuredClone(delta), delta)
      const neighbors = new Set(delta.speaker?.neighbors.map(({ id }) => id) ?? [])
      for (const each of delta.speaker?.neighbors ?? []) {
        assert.equal(each.id, `${each.localAsn}/${each.peerAddress}`)
        assert.ok(isCanonical(each.peerAddress), each.peerAddress)
        assert.ok(each.holdTimeSec === 0 || (each.holdTimeSec >= 3 && each.holdTimeSec <= 65535))
      }
      for (const problem of delta.problems ?? []) checkProblem(problem)
      const services = [...delta.services.values()].flatMap((one) => one ?? [])
      for (const one of [...services, ...(delta.podCidrs ?? [])]) {
        for (const verdict of one.verdicts) checkVerdict(verdict)
        for (const { prefix, neighbors: heard, attributes } of one.routes) {
          seen.routes++
          if ((attributes.communities?.length ?? 0) > 1) seen.lists++
          assert.ok(isCanonical(prefix), prefix)
          for (const id of heard) assert.ok(neighbors.has(id), id)
          for (const key of ['communities', 'largeCommunities', 'extendedCommunities'] as const)
            assert.ok(
              isAscending(attributes[key]) && attributes[key]?.length !== 0,
              `${key} ${attributes[key]?.join()}`,
            )
        }
      }
      for (const one of services) {
        if (one.verdicts.some(({ ok }) => !ok)) assert.deepEqual(one.routes, [], one.key)
        for (const { id, service: owner, address, protocol, port: number, backends } of one.frontends) {
          assert.deepEqual([id, owner], [frontendId(address, protocol, number), one.key])
          if (backends.length > 1) seen.backends++
          assert.ok(isCanonical(address) && one.addresses.includes(address))
          assert.ok(isAscending(backends.map(ranked)), JSON.stringify(backends))
        }
      }
    }),
    { numRuns: 150 },
  )
  for (const [what, count] of Object.entries(seen)) assert.ok(count > 0, `${count} ${what}`)
})
