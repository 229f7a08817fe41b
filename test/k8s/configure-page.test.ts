/** docs/configure.md and the source name the same codes, fields and annotations. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { problemCodes, verdictCodes } from '../../src/desired/codes.ts'
import { advertisementSpec } from '../../src/k8s/kinds/cilium-bgp-advertisement.ts'
import { clusterConfigSpec } from '../../src/k8s/kinds/cilium-bgp-cluster-config.ts'
import { nodeConfigOverrideSpec } from '../../src/k8s/kinds/cilium-bgp-node-config-override.ts'
import { peerConfigSpec } from '../../src/k8s/kinds/cilium-bgp-peer-config.ts'
import { bfdProfileSpec } from '../../src/k8s/kinds/bfd-profile.ts'
import { bgpAdvertisementSpec } from '../../src/k8s/kinds/bgp-advertisement.ts'
import { bgpPeerSpec } from '../../src/k8s/kinds/bgp-peer.ts'
import { ipAddressPoolSpec } from '../../src/k8s/kinds/ip-address-pool.ts'
import { l2AdvertisementSpec } from '../../src/k8s/kinds/l2-advertisement.ts'
import { peeringPolicySpec } from '../../src/k8s/kinds/cilium-bgp-peering-policy.ts'
import { ipPoolSpec } from '../../src/k8s/kinds/cilium-load-balancer-ip-pool.ts'
import { validateManifests } from '../../src/k8s/validate.ts'

const page = readFileSync(new URL('../../docs/configure.md', import.meta.url), 'utf8')
const room = new URL('../../src/k8s/', import.meta.url)
const sources = [
  room,
  ...['allocation', 'agent', 'operator'].map((name) => new URL(`../../src/${name}/`, import.meta.url)),
].flatMap((folder) =>
  readdirSync(fileURLToPath(folder), { recursive: true })
    .map(String)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(new URL(name, folder), 'utf8')),
)
const found = (pattern: RegExp, text: string): readonly string[] =>
  [...text.matchAll(pattern)].map((match) => match[1] ?? '')
const unique = (list: readonly string[]): readonly string[] => [...new Set(list)].sort()

test('docs/configure.md lists exactly the codes of problems, and of verdicts by their step', () => {
  const [problems = '', verdicts = ''] = page.slice(page.indexOf('## Codes')).split('An answer on the chain')
  const codes = found(/`([A-Z]\w+)`/g, problems)
  assert.deepEqual(unique(codes), unique(Object.keys(problemCodes)))
  assert.equal(codes.length, unique(codes).length, 'each code stands in one row')
  const rows = [...verdicts.matchAll(/^\| (\w+) \| (.*?) \| (.*?) \|$/gm)].filter(([, step]) => step !== 'step')
  const documented = rows.map(([, step = '', yes = '', no = '']) => [
    step,
    { yes: found(/`(\w+)`/g, yes), no: found(/`(\w+)`/g, no) },
  ])
  const known = Object.entries(verdictCodes).filter(([, { yes, no }]) => yes.length + no.length > 0)
  assert.deepEqual(documented, known)
})

test('every code of the tables is used', () => {
  const all = [...Object.keys(problemCodes), ...Object.values(verdictCodes).flatMap(({ yes, no }) => [...yes, ...no])]
  assert.deepEqual(
    all.filter((code) => !sources.some((text) => text.includes(`'${code}'`))),
    [],
  )
})

/** The names of all fields that a schema takes. */
function fieldsOf(schema: unknown): readonly string[] {
  if (typeof schema !== 'object' || schema === null) return []
  const properties: unknown = Reflect.get(schema, 'properties')
  const own = typeof properties === 'object' && properties !== null ? Object.keys(properties) : []
  return [...own, ...Object.values(schema).flatMap(fieldsOf)]
}

test('docs/configure.md names every field of the kinds of configuration, and every annotation', () => {
  const specs = {
    peeringPolicySpec,
    ipPoolSpec,
    clusterConfigSpec,
    peerConfigSpec,
    advertisementSpec,
    nodeConfigOverrideSpec,
    ipAddressPoolSpec,
    bgpPeerSpec,
    bgpAdvertisementSpec,
    bfdProfileSpec,
    l2AdvertisementSpec,
  }
  for (const [name, spec] of Object.entries(specs)) {
    const fields = fieldsOf(z.toJSONSchema(spec, { io: 'input', unrepresentable: 'any' }))
    assert.ok(fields.length > 2, name)
    const known = new Set(['matchLabels', 'matchExpressions', 'key', 'operator', 'values', 'afi', 'safi'])
    assert.deepEqual(
      unique(fields).filter((field) => !known.has(field) && !page.includes(field)),
      [],
      name,
    )
  }
  const annotations = sources.flatMap((text) =>
    found(/'((?:lbipam\.cilium\.io|io\.cilium|herald\.dev|metallb\.io|metallb\.universe\.tf)\/(?!v\d)[\w-]+)'/g, text),
  )
  assert.ok(annotations.length > 3)
  assert.deepEqual(
    unique(annotations).filter((name) => !page.includes(name)),
    [],
  )
})

test('the smallest set-up of docs/configure.md is valid as printed', () => {
  const text = /```yaml\n([\s\S]*?)```/.exec(page)?.[1] ?? ''
  assert.match(text, /CiliumLoadBalancerIPPool/)
  assert.deepEqual(validateManifests([{ name: 'configure.md', text }]), [])
})
