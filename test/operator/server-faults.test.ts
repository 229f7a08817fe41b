/** Lease and writes over a connection to a server that answers with everything but what was asked for. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { leaseOnServer } from '../../src/k8s/apiserver/lease.ts'
import { ApiRequests } from '../../src/k8s/apiserver/requests.ts'
import { objectsOnServer, statusOnServer } from '../../src/k8s/apiserver/status-writer.ts'
import { connectTransport, type Transport } from '../../src/k8s/apiserver/transport.ts'
import type { LeaseSpec } from '../../src/k8s/lease.ts'
import type { StatusOutcome, StatusWrite } from '../../src/k8s/status.ts'
import { FakeApiServer, type Request } from '../k8s/apiserver/fake-server.ts'

const timeoutMs = 400
let server: FakeApiServer
let transport: Transport
let requests: ApiRequests

beforeEach(async () => {
  server = new FakeApiServer()
  transport = connectTransport(await server.start(), 150)
  requests = new ApiRequests(transport, timeoutMs)
})

afterEach(async () => {
  await transport.close()
  await server.stop()
})

const write: StatusWrite = {
  target: {
    apiVersion: 'v1',
    kind: 'Service',
    resource: 'services',
    namespace: 'default',
    name: 'web',
    uid: 'u',
    resourceVersion: '7',
  },
  status: { loadBalancer: { ingress: [{ ip: '203.0.113.1', ipMode: 'VIP' }] } },
}

/** Every request is answered so. */
function answers(code: number, body: string, headers: Readonly<Record<string, string>> = {}): void {
  server.fault = ({ stream }) => {
    stream.respond({ ':status': code, ...headers })
    stream.end(body)
    return true
  }
}

const apply = (): Promise<StatusOutcome> => statusOnServer(requests, 'op').apply(write)
const details = (causes: readonly object[]): string =>
  JSON.stringify({ kind: 'Status', message: 'Apply failed with 1 conflict', details: { causes } })

test('a status is applied with our field manager, without force, with uid and version', async () => {
  const asked: { path: string; query: string; type: string; accept: string; body: string }[] = []
  server.fault = ({ path, query, headers, stream }: Request) => {
    const [type, accept] = [String(headers['content-type']), String(headers['accept'])]
    const found = { path, query: query.toString(), type, accept, body: '' }
    asked.push(found)
    stream.setEncoding('utf8').on('data', (text: string) => {
      found.body += text
    })
    stream.on('end', () => {
      stream.respond({ ':status': 200 })
      stream.end(JSON.stringify({ metadata: { resourceVersion: '8' } }))
    })
    return true
  }
  assert.deepEqual(await apply(), { kind: 'written', resourceVersion: '8' })
  const [only] = asked
  assert.equal(only?.path, '/api/v1/namespaces/default/services/web/status')
  assert.equal(only?.query, 'fieldManager=herald-operator&force=false')
  assert.equal(only?.type, 'application/apply-patch+yaml')
  assert.match(only?.accept ?? '', /^application\/json;as=PartialObjectMetadata;.*,application\/json$/)
  assert.deepEqual(JSON.parse(only?.body ?? ''), {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default', uid: 'u', resourceVersion: '7' },
    status: write.status,
  })
})

test('each answer that is no success is what it means', async () => {
  const owned = { reason: 'FieldManagerConflict', message: 'conflict with "x"', field: '.status.loadBalancer.ingress' }
  const cases: readonly (readonly [number, string, Readonly<Record<string, string>>, StatusOutcome['kind']])[] = [
    [200, '<html>', {}, 'failed'],
    [200, '[]', {}, 'failed'],
    [200, '', {}, 'failed'],
    [200, `{"metadata":{"resourceVersion":8}}`, {}, 'failed'],
    [404, '{}', {}, 'gone'],
    [409, '{"message":"the object has been modified"}', {}, 'stale'],
    [409, '<html>', {}, 'stale'],
    [409, details([]), {}, 'stale'],
    [409, `{"details":{"causes":"x"}}`, {}, 'stale'],
    [409, details([owned]), {}, 'owned'],
    [429, '', {}, 'limited'],
    [429, '', { 'retry-after': '3' }, 'limited'],
    [429, '', { 'retry-after': 'soon' }, 'limited'],
    [503, '', { 'retry-after': '3' }, 'limited'],
    [503, '', {}, 'failed'],
    [500, '{"message":"etcdserver: request timed out"}', {}, 'failed'],
    [500, '{"message":"failed to create typed patch: .status.x: field not declared in schema"}', {}, 'undeclared'],
    [403, '{"message":"forbidden"}', {}, 'refused'],
    [422, '{"message":"invalid"}', {}, 'refused'],
    [302, '', { location: 'https://example.com' }, 'failed'],
  ]
  for (const [code, body, headers, kind] of cases) {
    answers(code, body, headers)
    const outcome = await apply()
    assert.equal(outcome.kind, kind, `${code} ${body}`)
    if (outcome.kind === 'limited') assert.ok(outcome.afterMs >= 100 && outcome.afterMs <= 60_000)
    if (outcome.kind === 'owned') assert.deepEqual(outcome.fields, ['.status.loadBalancer.ingress'])
  }
})

const states = {
  apiVersion: 'metallb.io/v1beta1',
  kind: 'ConfigurationState',
  resource: 'configurationstates',
  namespace: 'herald system',
}

test('what there is of a kind is read page by page', async () => {
  const asked: string[] = []
  server.fault = ({ path, query, stream }: Request) => {
    asked.push(`${path} ${query.get('limit')} ${query.get('continue')}`)
    const isLast = query.get('continue') === 'a+b'
    stream.respond({ ':status': 200 })
    const items = [{ metadata: { name: isLast ? 'two' : 'one' } }]
    stream.end(JSON.stringify({ metadata: isLast ? {} : { continue: 'a+b' }, items }))
    return true
  }
  assert.deepEqual(await objectsOnServer(requests).list(states), {
    kind: 'listed',
    objects: [{ metadata: { name: 'one' } }, { metadata: { name: 'two' } }],
  })
  const path = '/apis/metallb.io/v1beta1/namespaces/herald%20system/configurationstates'
  assert.deepEqual(asked, [`${path} 250 null`, `${path} 250 a+b`])
})

test('a list that is none is no empty one', async () => {
  for (const [code, body, expected] of [
    [404, '404 page not found', { kind: 'absent' }],
    [403, '{"message":"forbidden"}', { kind: 'failed', message: 'forbidden' }],
    [410, '{"message":"the continue token is too old"}', { kind: 'failed', message: 'the continue token is too old' }],
    [200, '<html>', { kind: 'failed', message: 'the answer of the API server is no whole JSON object' }],
    [200, '{"items":null}', { kind: 'failed', message: 'the answer is no list' }],
  ] as const) {
    answers(code, body)
    assert.deepEqual(await objectsOnServer(requests).list(states), expected, `${code} ${body}`)
  }
})

test('a list without an end is a failure after a bounded number of requests, and a page of any length is a page', async () => {
  answers(200, '{"metadata":{"continue":"again"},"items":[{}]}')
  const endless = await objectsOnServer(requests).list(states)
  assert.deepEqual(endless, {
    kind: 'failed',
    message: 'a list without an end: the server names the same next page again',
  })
  assert.equal(server.requests.length, 2)
  const count = 200_000
  answers(200, `{"items":[${'{},'.repeat(count - 1)}{}]}`)
  const patient = new ApiRequests(transport, 60_000)
  const found = await objectsOnServer(patient).list(states)
  assert.equal(found.kind === 'listed' ? found.objects.length : found.kind, count)
})

test('of megabytes of words a server is believed the first thousand', async () => {
  const patient = new ApiRequests(transport, 60_000)
  const words = 'no '.repeat(600_000)
  const causes = [{ reason: 'FieldManagerConflict', message: words, field: '.status.loadBalancer' }]
  for (const [code, body, kind] of [
    [422, JSON.stringify({ message: words }), 'refused'],
    [500, JSON.stringify({ message: 'x'.repeat(2_000_000) }), 'failed'],
    [409, details(causes), 'owned'],
  ] as const) {
    answers(code, body)
    const outcome = await statusOnServer(patient, 'op').apply(write)
    assert.equal(outcome.kind, kind)
    assert.ok('message' in outcome && outcome.message.length <= 1_000, `${code}`)
  }
})

test('a wait that a server asks for has bounds', async () => {
  for (const [asked, afterMs] of [
    ['0', 100],
    ['-5', 100],
    ['999999999', 60_000],
  ] as const) {
    answers(429, '', { 'retry-after': asked })
    assert.deepEqual(await apply(), { kind: 'limited', afterMs })
  }
})

test('no answer, half of one, and one without end are given up in time, and the next request is answered', async () => {
  const faults: readonly ((request: Request) => boolean)[] = [
    () => true,
    ({ stream }) => {
      stream.respond({ ':status': 200 })
      stream.write('{"metadata":{')
      return true
    },
    ({ stream }) => {
      stream.respond({ ':status': 200 })
      const fill = (): void => {
        while (!stream.destroyed && stream.write('x'.repeat(65_536)));
      }
      stream.on('drain', fill)
      fill()
      return true
    },
    ({ stream }) => {
      stream.destroy()
      return true
    },
  ]
  for (const fault of faults) {
    server.fault = fault
    const started = performance.now()
    assert.equal((await apply()).kind, 'failed')
    assert.ok(performance.now() - started < timeoutMs + 5_000)
    answers(200, JSON.stringify({ metadata: { resourceVersion: '9' } }))
    assert.deepEqual(await apply(), { kind: 'written', resourceVersion: '9' })
  }
})

test('a connection that fell silent is made anew by the request that had no answer', async () => {
  answers(200, JSON.stringify({ metadata: { resourceVersion: '9' } }))
  assert.equal((await apply()).kind, 'written')
  server.silence()
  assert.equal((await apply()).kind, 'failed')
  assert.equal((await apply()).kind, 'written')
})

test('a Lease of garbage has no holder and a length that can be waited for; what is no Lease is no answer', async () => {
  const spec: LeaseSpec = { holder: 'op', durationSec: 15, acquireTime: '', renewTime: '', transitions: 0 }
  const store = leaseOnServer(requests, 'herald', 'herald-operator')
  answers(
    200,
    JSON.stringify({ metadata: { resourceVersion: '3' }, spec: { holderIdentity: 5, leaseDurationSeconds: {} } }),
  )
  const found = await store.read()
  assert.ok(found.kind === 'found')
  assert.deepEqual([found.lease.spec.holder, found.lease.spec.durationSec], ['', 15])
  for (const [code, body, kind] of [
    [200, '{}', 'failed'],
    [200, 'null', 'failed'],
    [200, '{"metadata":{"resourceVersion":7}}', 'failed'],
    [404, '{}', 'absent'],
    [409, '{}', 'taken'],
    [403, '{"message":"no"}', 'failed'],
    [500, '', 'failed'],
  ] as const) {
    answers(code, body)
    for (const answer of [await store.read(), await store.update(spec, '3')])
      assert.equal(answer.kind, kind, `${code} ${body}`)
    // Without its namespace there is nowhere to create it.
    assert.equal((await store.create(spec)).kind, code === 404 ? 'failed' : kind, `${code} ${body}`)
  }
})
