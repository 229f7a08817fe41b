/** `herald agent` as a process: what it does when a part of what it was told cannot be had. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { fetchExplain, fetchPeers, fetchRoutes, fetchServices, fetchStatus } from '../../src/api/client.ts'
import { explainSchema, peerSchema, routeSchema, serviceSchema, statusSchema } from '../../src/api/types.ts'
import { parseExposition } from '../observe/exposition.ts'
import { waitFor } from '../wait.ts'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'herald-agent-'))
const agents: ChildProcess[] = []

after(() => {
  for (const agent of agents) agent.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

/** An agent with a state directory and a socket of its own. */
function startAgent(name: string, http: string): { readonly socket: string; stop(): Promise<unknown> } {
  const socket = join(folder, `${name}.sock`)
  const agent = spawn(
    herald,
    [
      'agent',
      '--node-name',
      'node1',
      '--manifests',
      manifests,
      '--datapath',
      'none',
      '--bgp-listen',
      'none',
      '--state-dir',
      join(folder, name),
      '--socket',
      socket,
      '--http',
      http,
    ],
    { stdio: 'ignore' },
  )
  agents.push(agent)
  const ended = once(agent, 'exit')
  return {
    socket,
    stop: () => {
      agent.kill('SIGINT')
      return ended
    },
  }
}

const manifests = join(folder, 'manifests')
mkdirSync(manifests)
writeFileSync(
  join(manifests, 'all.yaml'),
  `apiVersion: v1
kind: Node
metadata: {name: node1, labels: {kubernetes.io/os: linux}}
spec: {podCIDRs: [10.1.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.9}]}
---
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: pool}
spec: {blocks: [{start: 203.0.113.10, stop: 203.0.113.20}]}
---
apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata: {name: bgp-peering}
spec:
  nodeSelector: {matchLabels: {kubernetes.io/os: linux}}
  virtualRouters:
  - localASN: 65001
    exportPodCIDR: true
    serviceSelector: {matchLabels: {expose-via-bgp: "true"}}
    neighbors: [{peerAddress: 127.0.0.93/32, peerASN: 65000}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default, labels: {expose-via-bgp: "true"}}
spec: {type: LoadBalancer, ports: [{port: 80, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.1.1.5], nodeName: node1, conditions: {ready: true}}]
ports: [{port: 8080, protocol: TCP}]
---
apiVersion: v1
kind: Service
metadata: {name: broken, namespace: default}
spec: {type: LoadBalancer, ports: [{port: 99999999, protocol: TCP}]}
`,
)

interface JsonSchema {
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly items?: JsonSchema
}

/** Keys of `value` that its schema, and so docs/json.md, does not have. */
function undocumented(value: unknown, schema: JsonSchema, path: string): string[] {
  if (Array.isArray(value)) return value.flatMap((item) => undocumented(item, schema.items ?? {}, path))
  const { properties } = schema
  if (typeof value !== 'object' || value === null || properties === undefined) return []
  return Object.entries(value).flatMap(([key, inner]) =>
    properties[key] === undefined ? [`${path}.${key}`] : undocumented(inner, properties[key], `${path}.${key}`),
  )
}

test('what a running agent answers is what docs/json.md documents, key by key, and its metrics are well-formed', {
  timeout: 120_000,
}, async () => {
  const { socket, stop } = startAgent('answers', '127.0.0.1:0')
  const status = await waitFor('all objects', async () => {
    const found = await fetchStatus({ socket }).catch(() => undefined)
    return found?.source.synced === true && found.problems.length > 0 && found
  })
  const answers: readonly [string, z.ZodType, unknown][] = [
    ['status', statusSchema, status],
    ['peers', z.array(peerSchema).nonempty(), await fetchPeers({ socket })],
    ['services', z.array(serviceSchema).nonempty(), await firstOf(fetchServices({ socket }))],
    [
      'routes',
      z.array(routeSchema).nonempty(),
      await firstOf(fetchRoutes({ socket }, { table: 'available', family: 'ipv4-unicast' })),
    ],
    ...(await Promise.all(
      (['service', 'peer', 'route'] as const).map(
        async (kind): Promise<[string, z.ZodType, unknown]> => [
          `explain ${kind}`,
          explainSchema,
          await fetchExplain(
            { socket },
            { kind, name: { service: 'default/web', peer: '127.0.0.93', route: '10.1.1.0/24' }[kind] },
          ),
        ],
      ),
    )),
  ]
  for (const [name, schema, answer] of answers) {
    schema.parse(answer)
    assert.deepEqual(undocumented(answer, z.toJSONSchema(schema) as JsonSchema, name), [])
  }
  assert.ok(parseExposition(await metrics(socket)).has('herald_bgp_session_up'))
  assert.deepEqual(await stop(), [0, null])
})

async function firstOf<T>(pages: AsyncGenerator<readonly T[]>): Promise<readonly T[]> {
  return (await pages.next()).value ?? []
}

function metrics(socket: string): Promise<string> {
  return new Promise((resolve, reject) => {
    http
      .get({ socketPath: socket, path: '/metrics' }, (response) => {
        let body = ''
        response
          .setEncoding('utf8')
          .on('data', (chunk: string) => (body += chunk))
          .on('end', () => resolve(body))
      })
      .on('error', reject)
  })
}

test('an agent whose HTTP port is taken goes on with its socket, says so in status, and stops cleanly', {
  timeout: 120_000,
}, async () => {
  const occupant = net.createServer().listen(0, '127.0.0.1')
  await once(occupant, 'listening')
  const address = occupant.address()
  assert.ok(typeof address === 'object' && address !== null)
  const { socket, stop } = startAgent('no-http', `127.0.0.1:${address.port}`)
  const status = await waitFor('an answer', () => fetchStatus({ socket }).catch(() => undefined))
  occupant.close()
  assert.ok(
    status.warnings.some((warning) => /^no HTTP, .*EADDRINUSE.*--http$/.test(warning)),
    status.warnings.join('\n'),
  )
  assert.deepEqual(await stop(), [0, null])
})
