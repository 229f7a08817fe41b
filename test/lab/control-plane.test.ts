import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { apiserverAddress, withControlPlane } from '../../lab/control-plane.ts'
import { relay } from '../../lab/relay.ts'
import { parseTopology } from '../../lab/topology.ts'
import { waitFor } from '../wait.ts'

const file = new URL('../../containerlab/rack/topology.clab.yml', import.meta.url)
const rack = parseTopology(readFileSync(file, 'utf8'), 'topology.clab.yml')
const programs = { etcd: '/k/etcd', apiserver: '/k/kube-apiserver', kubectl: '/k/kubectl', helm: '/h/helm' }
const withApi = withControlPlane(rack, '/srv/rack', programs)
const nodeOf = (name: string) => withApi.nodes.find((node) => node.name === name)

test('agents read the API server by a kubeconfig of their own, and the folder not at all; the rest stays', () => {
  for (const { name, cmd, binds } of rack.nodes.filter((node) => node.cmd[0] === 'agent')) {
    const made = nodeOf(name)
    const folder = cmd.indexOf('--manifests')
    const kubeconfig = ['--kubeconfig', `/srv/rack/control-plane/kubeconfig-${name}`]
    const leases = ['--lease-namespace', 'herald-system-herald-node-lease']
    assert.deepEqual(made?.cmd, cmd.toSpliced(folder, 2, ...kubeconfig, ...leases))
    assert.equal(made?.binds.length, binds.length - 1)
  }
  const others = rack.nodes.filter((node) => node.cmd[0] !== 'agent')
  assert.deepEqual(
    others.map(({ name }) => nodeOf(name)),
    others,
  )
  assert.deepEqual(withApi.links.slice(0, rack.links.length), rack.links)
})

test('every process of the control plane is a node, and each of its clients has an address on its segment', () => {
  const clients = ['etcd', 'operator', 'node1', 'node2', 'node3']
  const links = withApi.links.slice(rack.links.length)
  assert.deepEqual(
    links.map(({ ends }) => [ends[0].node, ends[1].node]),
    clients.map((name) => ['apiserver', name]),
  )
  const addresses = ['apiserver', ...clients].map((name) => {
    const words = nodeOf(name)?.exec.find(([, what, verb, address]) => what === 'address' && verb === 'add' && address)
    return words?.[3]
  })
  assert.equal(addresses[0], `${apiserverAddress}/24`)
  assert.equal(new Set(addresses).size, 6)
  assert.ok(addresses.every((address) => address?.startsWith('192.168.100.')))
})

test('a relay hands bytes on both ways, and ends with its signal', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'herald-test-relay-'))
  context.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'socket')
  const echo = createServer((socket) => socket.pipe(socket))
  context.after(() => echo.close())
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve))
  const ending = new AbortController()
  const { port } = echo.address() as AddressInfo
  await relay({ path }, { host: '127.0.0.1', port }, ending.signal)
  const near = await relay({ host: '127.0.0.1', port: 0 }, { path }, ending.signal)
  const client = connect((near.address() as AddressInfo).port, '127.0.0.1')
  let heard = ''
  let hasEnded = false
  client.setEncoding('utf8').on('data', (text: string) => (heard += text))
  client.on('close', () => (hasEnded = true))
  client.write('hello')
  await waitFor('the echo', () => heard === 'hello')
  ending.abort()
  await waitFor('the end', () => hasEnded)
})

test('a connection that leads nowhere ends, and the relay goes on', async (context) => {
  const ending = new AbortController()
  context.after(() => ending.abort())
  const server = await relay({ host: '127.0.0.1', port: 0 }, { path: '/nonexistent/socket' }, ending.signal)
  for (const _ of [1, 2]) {
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
    await new Promise<void>((resolve) => client.on('error', () => {}).on('close', () => resolve()))
  }
})
