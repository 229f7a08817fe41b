/**
 * The agent with the capabilities that the chart gives its container, and no more: it loads and attaches its programs,
 * listens on port 179 and sets keys. With one of them less it says what it cannot do.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { findCgroup } from '../../src/sys/cgroup.ts'
import { mountBpffs, unmountBpffs } from '../../src/sys/mount.ts'
import { whyNoKernel } from '../datapath/fixture.ts'
import { waitFor } from '../wait.ts'
import { only, render, skip as noHelm } from './helm.ts'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const skip = noHelm === false ? (whyNoKernel() ?? noSetpriv()) : noHelm

function noSetpriv(): string | false {
  return spawnSync('setpriv', ['--version']).status === 0 ? false : 'no setpriv here (util-linux)'
}

const manifests = `
apiVersion: v1
kind: Node
metadata: {name: node1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: kube-system}
stringData: {password: secret}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ports: [{port: 80}]}
---
apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata:
  name: rack
  annotations: {herald.dev/neighbors: '{"192.0.2.2": {ttlSecurity: 1}}'}
spec:
  nodeSelector: {}
  virtualRouters:
  - localASN: 65001
    serviceSelector: {}
    neighbors:
    - {peerAddress: 192.0.2.2/32, peerASN: 65000, authSecretRef: key}
`

interface Status {
  readonly warnings: readonly string[]
  readonly datapath: { readonly kind: string; readonly interfaces: readonly string[] }
  readonly socketLb: { readonly isOn: boolean; readonly frontends: number }
}

async function capabilitiesOfChart(): Promise<readonly string[]> {
  const { spec } = only(await render(), 'DaemonSet') as unknown as {
    spec: { template: { spec: { containers: { securityContext: { capabilities: { add: string[] } } }[] } } }
  }
  return spec.template.spec.containers[0]?.securityContext.capabilities.add ?? []
}

/** An agent in a network of its own, as a container's process with these capabilities would run. */
function agentWith(t: TestContext, capabilities: readonly string[]): { status(): Promise<Status>; output(): string } {
  const folder = mkdtempSync(join(tmpdir(), 'herald-capabilities-'))
  const file = (name: string): string => join(folder, name)
  const group = join(findCgroup('/sys/fs/cgroup').path, `herald-capabilities-${process.pid}`)
  mkdirSync(group)
  for (const name of ['bpf', 'manifests', 'state']) mkdirSync(file(name))
  mountBpffs(file('bpf'))
  writeFileSync(file('manifests/all.yaml'), manifests)
  const bounding = ['-all', ...capabilities.map((name) => `+${name.toLowerCase()}`)].join()
  const network = [
    'ip link set lo up',
    'ip link add up0 type veth peer name up1',
    'ip addr add 192.0.2.1/24 dev up0',
    'ip link set up0 up',
    'ip link set up1 up',
  ].join(' && ')
  const led = ['--socket-lb', '--cgroup-root', group]
  const flags = [...led, '--manifests', file('manifests'), '--state-dir', file('state'), '--socket', file('sock')]
  const agent = ['agent', '--node-name', 'node1', '--http', 'none', '--datapath', 'ebpf', '--bpffs', file('bpf')]
  const program = [`--bounding-set=${bounding}`, '--inh-caps=-all', '--no-new-privs', herald, ...agent, ...flags]
  const script = `${network} && exec setpriv "$@"`
  const child: ChildProcess = spawn('unshare', ['--net', 'sh', '-c', script, 'sh', ...program], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  t.after(async () => {
    child.kill('SIGINT')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    unmountBpffs(file('bpf'))
    rmdirSync(group)
    rmSync(folder, { recursive: true, force: true })
  })
  return {
    output: () => output,
    status: () =>
      waitFor(
        'the agent answers, or has ended',
        () =>
          new Promise<Status | undefined>((resolve) => {
            execFile(herald, ['status', '-o', 'json', '--socket', file('sock')], (_, stdout) => {
              if (child.exitCode !== null) assert.fail(output)
              resolve(stdout === '' ? undefined : JSON.parse(stdout))
            })
          }),
      ),
  }
}

test('with the capabilities of the chart the agent serves, leads sockets, listens and sets keys', {
  skip,
}, async (t) => {
  const agent = agentWith(t, await capabilitiesOfChart())
  // One answer for all: a session that stays down says more with time.
  const { warnings, datapath, socketLb } = await waitFor('its programs are attached and sockets led', async () => {
    const status = await agent.status()
    return status.datapath.interfaces.join() === 'up0' && status.socketLb.frontends === 1 ? status : undefined
  })
  assert.equal(datapath.kind, 'ebpf')
  assert.equal(socketLb.isOn, true)
  assert.deepEqual(
    warnings.filter((text) => /EPERM|EACCES|permitted|key|listen|not ended/i.test(text)),
    [],
  )
  assert.doesNotMatch(agent.output(), /EPERM|EACCES/)
})

for (const [name, words] of [
  ['BPF', /EPERM/],
  ['NET_ADMIN', /EPERM/],
  ['NET_BIND_SERVICE', /cannot listen on .*179/],
] as const)
  test(`without ${name} the agent says what it cannot do`, { skip }, async (t) => {
    const all = await capabilitiesOfChart()
    assert.ok(all.includes(name))
    const agent = agentWith(
      t,
      all.filter((each) => each !== name),
    )
    await waitFor('it is said', () => words.test(agent.output())).catch((error: unknown) =>
      assert.fail(`${String(error)}\n${agent.output()}`),
    )
  })
