import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import * as z from 'zod'
import { endpointSliceSchema } from '../../src/k8s/kinds/endpoint-slice.ts'
import { metadataSchema } from '../../src/k8s/kinds/narrow.ts'
import { readQuickly, refused } from '../../src/k8s/kinds/quick-reader.ts'
import { choice, optionalList, optionalText, textMap } from '../../src/k8s/kinds/schemas.ts'
import { serviceSchema } from '../../src/k8s/kinds/service.ts'

/** The quick reader takes what zod takes, makes the same of it, and refuses the rest. */
function agree(schema: z.ZodType, raw: unknown): void {
  const slow = schema.safeParse(raw)
  const quick = readQuickly(schema, raw)
  assert.equal(quick !== refused, slow.success, `zod ${slow.success ? 'takes' : 'refuses'} ${JSON.stringify(raw)}`)
  if (slow.success) assert.deepStrictEqual(quick, slow.data)
}

/** Schemas of every piece that is known, a few deep. */
const { schema: anySchema } = fc.letrec<{ schema: z.ZodType; leaf: z.ZodType }>((tie) => ({
  leaf: fc.constantFrom<z.ZodType>(
    z.string(),
    z.string().min(1),
    z.string().min(2).max(3),
    z.number(),
    z.number().int().min(1).max(65535),
    z.number().gt(0).lt(2),
    z.boolean(),
    z.unknown(),
    z.enum(['IPv4', 'IPv6']),
    choice(['TCP', 'UDP'], 'TCP'),
    choice(['Yes', 'No'], undefined),
    optionalText,
    textMap,
    metadataSchema,
  ),
  schema: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('leaf'),
    tie('schema').map((inner) => inner.optional()),
    tie('schema').map((inner) => inner.nullable()),
    tie('schema').map((inner) => inner.nullish()),
    tie('schema').map((inner) => z.array(inner)),
    tie('schema').map((inner) => z.array(inner).min(1).max(2, 'two')),
    tie('schema').map((inner) => optionalList(inner)),
    tie('schema').map((inner) => z.record(z.string(), inner)),
    tie('schema').map((inner) => inner.transform((value) => [value])),
    tie('schema').map((inner) => z.preprocess((value) => (value === 'a' ? undefined : value), inner)),
    fc.dictionary(fc.constantFrom('a', 'b', 'name'), tie('schema'), { maxKeys: 3 }).map((shape) => z.object(shape)),
    fc
      .dictionary(fc.constantFrom('a', 'b', 'name'), tie('schema'), { maxKeys: 3 })
      .map((shape) => z.strictObject(shape)),
  ),
}))

/** Values that are often right, and seldom far from it. */
const { value: anyValue } = fc.letrec<{ value: unknown; leaf: unknown }>((tie) => ({
  leaf: fc.constantFrom<unknown>(
    ...[undefined, null, '', 'a', 'bc', '\u{1f600}', '\ud83d', 'a\u{1f600}', 'IPv4', 'TCP', 'No', 'none', 0, -0, 1, 2],
    ...[1.5, 65536, -1, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, true, false, '2026-01-01T00:00:00Z'],
  ),
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    { weight: 4, arbitrary: tie('leaf') },
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(
      fc.constantFrom(
        'a',
        'b',
        'name',
        'namespace',
        'labels',
        'creationTimestamp',
        '__proto__',
        'constructor',
        'toString',
      ),
      tie('value'),
      { maxKeys: 4, noNullPrototype: true },
    ),
  ),
}))

test('the quick reader agrees with zod on any schema of the pieces that it knows, and any value', () => {
  fc.assert(
    fc.property(anySchema, fc.array(anyValue, { minLength: 1, maxLength: 6 }), (schema, values) => {
      for (const value of values) agree(schema, value)
    }),
    { numRuns: 1500 },
  )
})

/** A right value with any one of its places replaced, emptied or removed. */
function spoilt(right: unknown): fc.Arbitrary<unknown> {
  const places: (readonly (string | number)[])[] = []
  const visit = (value: unknown, path: readonly (string | number)[]): void => {
    places.push(path)
    if (Array.isArray(value)) for (const [index, item] of value.entries()) visit(item, [...path, index])
    else if (typeof value === 'object' && value !== null)
      for (const [key, each] of Object.entries(value)) visit(each, [...path, key])
  }
  visit(right, [])
  return fc.tuple(fc.constantFrom(...places), anyValue, fc.boolean()).map(([path, value, isRemoved]) => {
    const last = path.at(-1)
    if (last === undefined) return value
    const root: unknown = structuredClone(right)
    let holder = root
    for (const step of path.slice(0, -1)) holder = Reflect.get(Object(holder), step)
    if (isRemoved && !Array.isArray(holder)) Reflect.deleteProperty(Object(holder), last)
    else Reflect.set(Object(holder), last, value)
    return root
  })
}

const metadata = {
  name: 'web',
  namespace: 'shop',
  uid: 'u1',
  labels: { a: 'b', c: null },
  annotations: { 'lbipam.cilium.io/ips': '192.0.2.1' },
  creationTimestamp: '2026-01-01T00:00:00Z',
}
const service = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata,
  spec: {
    type: 'LoadBalancer',
    clusterIPs: ['10.0.0.1'],
    loadBalancerClass: '',
    loadBalancerIP: null,
    loadBalancerSourceRanges: ['10.0.0.0/8'],
    externalTrafficPolicy: 'Local',
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
    selector: { app: 'web' },
    ipFamilies: ['IPv4'],
    ipFamilyPolicy: 'SingleStack',
    ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 'http' }, { port: 443 }],
  },
  status: { loadBalancer: { ingress: [{ ip: '192.0.2.1', ipMode: 'VIP' }, { hostname: 'x' }] } },
}
const slice = {
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata,
  addressType: 'IPv4',
  endpoints: [
    { addresses: ['10.1.1.9'], targetRef: { kind: 'Pod', name: 'web-9', namespace: 'shop' } },
    { addresses: ['10.1.1.1'], nodeName: 'node1', conditions: { ready: true, serving: null, terminating: false } },
    { addresses: [], conditions: {} },
  ],
  ports: [{ name: 'http', protocol: '', port: 8080 }, { port: null }],
}

const known: readonly (readonly [string, z.ZodType, unknown])[] = [
  ['Services', serviceSchema, service],
  ['EndpointSlices', endpointSliceSchema, slice],
]
for (const [name, schema, right] of known)
  test(`the quick reader agrees with zod on ${name} with any field spoilt`, () => {
    assert.notEqual(readQuickly(schema, right), refused)
    fc.assert(
      fc.property(spoilt(right), (raw) => agree(schema, raw)),
      { numRuns: 1500 },
    )
  })

test('a schema with a piece that the quick reader does not know is left to zod', () => {
  const unknown: readonly z.ZodType[] = [
    z.email(),
    z.string().regex(/a/),
    z.string().trim(),
    z.union([z.string(), z.number()]),
    z.object({ a: z.string().default('x') }),
    z.string().transform((text, context) => {
      context.addIssue('never')
      return text
    }),
    z.string().superRefine(() => {}),
    z.record(z.enum(['a']), z.string()),
    z.string().catch('x'),
  ]
  for (const schema of unknown) assert.equal(readQuickly(schema, 'a@b.example'), refused)
})
