/** Secrets are read by name, those alone that the configuration names for this node. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { systemClock } from '../../../src/clock/system-clock.ts'
import type { Neighbor, Problem } from '../../../src/desired/model.ts'
import { apiServerSource } from '../../../src/k8s/apiserver/source.ts'
import { connectTransport } from '../../../src/k8s/apiserver/transport.ts'
import type { ObjectSource } from '../../../src/k8s/source.ts'
import { createTranslator } from '../../../src/k8s/translate/translator.ts'
import { waitFor } from '../../wait.ts'
import { FakeApiServer, type Request, status } from './fake-server.ts'

const secretsPath = '/api/v1/namespaces/kube-system/secrets'
const policiesPath = '/apis/cilium.io/v2alpha1/ciliumbgppeeringpolicies'

let server: FakeApiServer
let source: ObjectSource
/** What an agent would have after each delta. */
let neighbors: readonly Neighbor[]
/** How many neighbors each delta had. */
let counts: number[]
let problems: readonly Problem[]
let unreadable: readonly Problem[]
let isSynced: boolean
const faults = new Map<string, (request: Request) => void>()

beforeEach(async () => {
  server = new FakeApiServer()
  faults.clear()
  server.fault = (request) => {
    const fault = request.path === secretsPath ? faults.get(request.query.get('fieldSelector') ?? '') : undefined
    fault?.(request)
    return fault !== undefined
  }
  for (const path of ['/api/v1/services', '/apis/discovery.k8s.io/v1/endpointslices', secretsPath]) server.serve(path)
  server.store('/api/v1/nodes', {
    metadata: { name: 'node1' },
    status: { addresses: [{ type: 'InternalIP', address: '192.0.2.9' }] },
  })
  neighbors = []
  counts = []
  problems = []
  unreadable = []
  isSynced = false
  source = apiServerSource({
    transport: connectTransport(await server.start()),
    clock: systemClock,
    random: () => 0.5,
    nodeName: 'node1',
  })
})

afterEach(async () => {
  await source.stop()
  await server.stop()
})

async function begin(): Promise<void> {
  const translator = createTranslator({ nodeName: 'node1', datapath: 'none', secretsNamespace: 'kube-system' })
  const flush = (): void => {
    const delta = translator.flush()
    if (delta.speaker !== undefined) {
      neighbors = delta.speaker.neighbors
      counts.push(neighbors.length)
    }
    problems = delta.problems ?? problems
  }
  await source.start({
    upsert: (key, object, origin) => translator.upsert(key, object, origin),
    remove: (key) => translator.remove(key),
    problems: (list) => {
      unreadable = list
    },
    flush,
    secrets: () => translator.secrets,
    synced: () => {
      isSynced = true
      translator.synced()
      flush()
    },
  })
}

const policy = (...secrets: readonly (string | undefined)[]): void =>
  server.store(policiesPath, {
    metadata: { name: 'rack' },
    spec: {
      nodeSelector: {},
      virtualRouters: [
        {
          localASN: 65001,
          neighbors: secrets.map((authSecretRef, index) => ({
            peerAddress: `192.0.2.${index + 1}/32`,
            peerASN: 65000,
            ...(authSecretRef === undefined ? {} : { authSecretRef }),
          })),
        },
      ],
    },
  })

const secret = (name: string, password: string, metadata = {}): void =>
  server.store(secretsPath, {
    metadata: { name, namespace: 'kube-system', ...metadata },
    data: { password: Buffer.from(password).toString('base64') },
  })

const keys = (): readonly (string | undefined)[] => neighbors.map(({ password }) => password)
const asked = (): readonly (string | null)[] =>
  server.requests.filter(({ path }) => path.includes('secrets')).map(({ query }) => query.get('fieldSelector'))
const has = (...wanted: readonly (string | undefined)[]): Promise<unknown> =>
  waitFor(`the keys are ${wanted.join()}`, () => keys().join() === wanted.join())

test('only the Secrets that neighbors name are asked for, by name, and their keys are there from the first', async () => {
  secret('tor-a', 'aaa')
  secret('tor-b', 'bbb')
  secret('unrelated', 'xxx')
  policy('tor-a', 'tor-b')
  await begin()
  await has('aaa', 'bbb')
  assert.deepEqual(counts, [2], 'no neighbor was configured without its key')
  assert.deepEqual([...new Set(asked())].sort(), ['metadata.name=tor-a', 'metadata.name=tor-b'])
  assert.equal(source.state.ofKind('Secret').isSynced, true)
})

test('without a neighbor that names one, nothing of Secrets is asked for', async () => {
  secret('tor-a', 'aaa')
  policy(undefined)
  await begin()
  await waitFor('it was read', () => isSynced)
  await has(undefined)
  assert.deepEqual(asked(), [])
})

test('a Secret that is named later is read then; one that is named no more is asked for no more', async () => {
  secret('tor-a', 'aaa')
  secret('tor-b', 'bbb')
  policy('tor-a')
  await begin()
  await has('aaa')
  policy('tor-b')
  await has('bbb')
  await waitFor('the first watch ends', () => server.watches(secretsPath) === 1)
  secret('tor-b', 'bb2')
  await has('bb2')
  assert.ok(
    counts.every((count) => count === 1),
    'the session stays while the new Secret is read',
  )
})

test('a Secret that vanishes keeps its key in force and is told; another one under its name takes over', async () => {
  secret('tor-a', 'aaa', { uid: 'first' })
  policy('tor-a')
  await begin()
  await has('aaa')
  await waitFor('it is watched', () => server.watches(secretsPath) === 1)
  server.delete(secretsPath, 'tor-a')
  await waitFor('it is told', () => problems.some(({ code }) => code === 'SecretGone'))
  assert.deepEqual(keys(), ['aaa'])
  secret('tor-a', 'new', { uid: 'second' })
  await has('new')
  assert.ok(!problems.some(({ code }) => code === 'SecretGone'))
})

test('a Secret that may not be read any more (403) keeps its key in force and is told by its name', async () => {
  secret('tor-a', 'aaa')
  secret('tor-b', 'bbb')
  policy('tor-a', 'tor-b')
  await begin()
  await has('aaa', 'bbb')
  faults.set('metadata.name=tor-a', ({ stream }) => status(stream, 403, 'secrets "tor-a" is forbidden'))
  source.rescan()
  await waitFor('it is told', () => unreadable.length > 0)
  const [{ object, message }] = unreadable as [Problem]
  assert.deepEqual(object, { kind: 'Secret', namespace: 'kube-system', name: 'tor-a' })
  assert.match(message, /tor-a" is forbidden/)
  assert.deepEqual(keys(), ['aaa', 'bbb'])
})

for (const [code, what] of [
  [403, 'that may not be read'],
  [500, 'that the server cannot decrypt'],
] as const) {
  test(`a Secret ${what} at the start costs its neighbor and no other`, async () => {
    secret('tor-b', 'bbb')
    policy('tor-a', 'tor-b')
    faults.set('metadata.name=tor-a', ({ stream }) => status(stream, code, 'no'))
    await begin()
    await has('bbb')
    assert.ok(problems.some(({ code: found }) => found === 'NoPassword'))
    faults.clear()
    secret('tor-a', 'aaa')
    await has('aaa', 'bbb')
  })
}

test('what goes wrong with a Secret is not told any more when nobody names it', async () => {
  policy('tor-a', undefined)
  faults.set('metadata.name=tor-a', ({ stream }) => status(stream, 403, 'no'))
  await begin()
  await waitFor('it is told', () => unreadable.length === 1)
  policy(undefined)
  await waitFor('it is over', () => unreadable.length === 0)
  assert.equal(source.state.isReachable, true)
})
