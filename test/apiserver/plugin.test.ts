/**
 * The built program as a plugin of the real kubectl on a real API server: found by its name, with kubectl's words for
 * the place that is asked, and completed by kubectl.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { buildProgram } from '../../scripts/build.ts'
import { crdOf } from '../../scripts/crds.ts'
import { presentBinaries } from './binaries.ts'
import { type Cluster, startCluster } from './cluster.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : false
const folder = mkdtempSync(join(tmpdir(), 'herald-plugin-'))
const list = (items: readonly object[]): string => JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
let cluster: Cluster

/** As the package is installed: no sources, the build, and links in the PATH by the names that package.json gives. */
function install(): void {
  const { bin }: { readonly bin: Readonly<Record<string, string>> } = JSON.parse(
    readFileSync(join(root, 'package.json'), 'utf8'),
  )
  const place = join(folder, 'package')
  for (const name of ['bin', 'build', '../path']) mkdirSync(join(place, name), { recursive: true })
  copyFileSync(join(root, 'package.json'), join(place, 'package.json'))
  symlinkSync(join(root, 'node_modules'), join(place, 'node_modules'))
  buildProgram(join(place, 'build'))
  for (const [name, file] of Object.entries(bin)) {
    copyFileSync(join(root, file), join(place, file))
    chmodSync(join(place, file), 0o755)
    symlinkSync(join(place, file), join(folder, 'path', name))
  }
}

interface Said {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

function kubectl(words: readonly string[], kubeconfig?: string): Said {
  const env = {
    PATH: `${join(folder, 'path')}:${process.env['PATH'] ?? ''}`,
    HOME: folder,
    ...(kubeconfig === undefined ? {} : { KUBECONFIG: kubeconfig }),
  }
  const { status, stdout, stderr } = spawnSync(binaries?.kubectl ?? '', words, { env, encoding: 'utf8' })
  return { code: status, stdout, stderr }
}

before(async () => {
  if (binaries === undefined) return
  install()
  cluster = await startCluster(binaries)
  await cluster.apply(list((['CiliumBGPPeeringPolicy', 'CiliumBGPNodeConfig'] as const).map((kind) => crdOf(kind))))
  await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=60s', '--all', 'crd'])
  const spec = { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }] }
  const service = (namespace: string): object => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace },
    spec,
  })
  await cluster.apply(
    list([
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
      { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node1' } },
    ]),
  )
  // It asks for a session of the node, of which nobody says anything.
  const neighbors = [{ peerAddress: '192.0.2.1/32', peerASN: 65000 }]
  const policy = {
    ...{ apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata: { name: 'rack' } },
    spec: { nodeSelector: {}, virtualRouters: [{ localASN: 65001, neighbors }] },
  }
  await cluster.apply(list([service('shop'), policy]))
})
after(async () => {
  rmSync(folder, { recursive: true, force: true })
  await cluster?.stop()
})

test('kubectl finds the plugin, and it asks the cluster that kubectl would ask', { skip }, () => {
  assert.match(kubectl(['plugin', 'list'], cluster.kubeconfig).stdout, /kubectl-herald/)
  const { code, stdout, stderr } = kubectl(['herald', 'status', '--cluster'], cluster.kubeconfig)
  assert.deepEqual([code, stderr], [1, ''])
  assert.match(stdout, /^node1 +unknown +0\/0 +0 +no agent is known to run/m)
  const peers = kubectl(['herald', 'bgp', 'peers', '--cluster', '-o', 'json'], cluster.kubeconfig)
  assert.deepEqual([peers.code, JSON.parse(peers.stdout)], [0, []])
})

test("kubectl's own words for the cluster mean it, also without --cluster", { skip }, () => {
  const words = ['herald', 'status', '--kubeconfig', cluster.kubeconfig, '-o', 'json']
  const { code, stdout } = kubectl(words)
  assert.equal(code, 1)
  assert.equal(JSON.parse(stdout)[0].node, 'node1')
  assert.equal(kubectl(['herald', 'status', '--context', 'admin'], cluster.kubeconfig).code, 1)
  const elsewhere = kubectl(['herald', 'status', '--context', 'nowhere'], cluster.kubeconfig)
  assert.match(elsewhere.stderr, /nowhere/)
  const nothing = kubectl(['herald', 'status', '--cluster'])
  assert.deepEqual([nothing.code, /there is no kubeconfig/.test(nothing.stderr)], [2, true], nothing.stderr)
})

test('the namespace is that of -n, else that of the context, else default', { skip }, () => {
  const explain = (words: readonly string[], kubeconfig = cluster.kubeconfig): { exists: boolean; subject: string } =>
    JSON.parse(kubectl(['herald', 'explain', 'service', ...words, '--cluster', '-o', 'json'], kubeconfig).stdout)
  assert.deepEqual([explain(['web']).exists, explain(['web']).subject], [false, 'service default/web'])
  assert.equal(explain(['web', '-n', 'shop']).exists, true)
  assert.equal(explain(['shop/web']).exists, true)
  const config = JSON.parse(kubectl(['config', 'view', '--raw', '-o', 'json'], cluster.kubeconfig).stdout)
  for (const each of config.contexts) each.context.namespace = 'shop'
  const inShop = join(folder, 'kubeconfig')
  writeFileSync(inShop, JSON.stringify(config))
  assert.equal(explain(['web'], inShop).exists, true)
})

test('a server that nobody can ask is exit code 3, and a person without rights is told which', { skip }, () => {
  const away = join(folder, 'away')
  writeFileSync(away, readFileSync(cluster.kubeconfig, 'utf8').replaceAll(/127\.0\.0\.1:\d+/g, '127.0.0.1:9'))
  assert.equal(kubectl(['herald', 'status', '--cluster'], away).code, 3)
  const { code, stderr } = kubectl(['herald', 'status', '--cluster'], cluster.kubeconfigOf('nobody'))
  assert.equal(code, 3)
  assert.match(stderr, /nodes is forbidden/)
})

test('kubectl completes verbs and flags of the plugin', { skip }, () => {
  const complete = (...words: readonly string[]): string =>
    kubectl(['__complete', 'herald', ...words], cluster.kubeconfig).stdout
  assert.match(complete('stat'), /^status$/m)
  assert.match(complete('bgp', 'p'), /^peers$/m)
  assert.match(complete('status', '--cont'), /^--context$/m)
})
