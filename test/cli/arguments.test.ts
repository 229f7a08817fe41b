/** Words, flags and the configuration file: what is understood, and that nothing else is. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Command } from 'commander'
import type { AgentOptions } from '../../src/agent/options.ts'
import { addAgent } from '../../src/cli/agent.ts'
import { routesQuery } from '../../src/cli/bgp.ts'

const folder = mkdtempSync(join(tmpdir(), 'herald-arguments-'))
after(() => rmSync(folder, { recursive: true }))

test("bgp routes understands Cilium's words, in their order, with their defaults", () => {
  assert.deepEqual(routesQuery([]), { table: 'available', family: 'ipv4-unicast' })
  assert.deepEqual(routesQuery(['received', 'ipv6', 'unicast']), { table: 'received', family: 'ipv6-unicast' })
  assert.deepEqual(routesQuery(['advertised', 'ipv4', 'unicast', 'peer', '192.0.2.1']), {
    table: 'advertised',
    family: 'ipv4-unicast',
    peer: '192.0.2.1',
  })
  // An interface may have any name but a few.
  for (const peer of ['fe80::1%eth0', '::%br_lan', 'fe80::1%vlan.7@x'])
    assert.deepEqual(routesQuery(['advertised', 'peer', peer]), { table: 'advertised', family: 'ipv4-unicast', peer })
})

test('bgp routes refuses a peer without address, an address that is none, and words too many', () => {
  for (const words of [
    ['advertised', 'ipv4', 'unicast', 'peer'],
    ['advertised', 'peer', '192.0.2.256'],
    ['advertised', 'peer', '192.0.2.1%eth0'],
    ['advertised', 'peer', 'fe80::1%'],
    ['advertised', 'ipv4', 'multicast'],
    ['advertised', '192.0.2.1'],
    ['peer', '192.0.2.1', 'peer'],
    ['ipv4', 'advertised'],
  ]) {
    assert.throws(() => routesQuery(words), { code: 'ERR_USAGE' }, words.join(' '))
  }
})

/** What the agent would be started with. */
async function options(words: readonly string[], config?: string): Promise<AgentOptions> {
  const found: AgentOptions[] = []
  const program = new Command()
  addAgent(program, async (given) => void found.push(given))
  const file = join(folder, 'config.yaml')
  if (config !== undefined) writeFileSync(file, config)
  await program.parseAsync(
    ['agent', '--manifests', '/m', ...words, ...(config === undefined ? [] : ['--config', file])],
    { from: 'user' },
  )
  const [given] = found
  assert.ok(given)
  return given
}

const usage = { code: 'ERR_USAGE' }

test('a flag wins over the environment, the environment over the file, the file over the default', async () => {
  const before = process.env['NODE_NAME']
  try {
    process.env['NODE_NAME'] = 'from-environment'
    assert.equal((await options(['--node-name', 'from-flag'], 'nodeName: from-file')).nodeName, 'from-flag')
    assert.equal((await options([], 'nodeName: from-file')).nodeName, 'from-environment')
    delete process.env['NODE_NAME']
    assert.equal((await options([], 'nodeName: from-file')).nodeName, 'from-file')
    assert.notEqual((await options([])).nodeName, '')
  } finally {
    if (before === undefined) delete process.env['NODE_NAME']
    else process.env['NODE_NAME'] = before
  }
})

test('the file goes through the checks of the flags', async () => {
  const given = await options(
    ['--datapath', 'ebpf'],
    'datapath: none\nbgpListen: "[::1]:1179"\nhttp: none\ninterfaces: ^eth',
  )
  assert.deepEqual(
    [given.datapath, given.bgpListen, given.http, given.interfaces],
    ['ebpf', { host: '::1', port: 1179 }, undefined, '^eth'],
  )
})

test(
  'a file with an unknown key, a wrong type or a value no flag would take is refused, also where a flag ' +
    'overrides it',
  async () => {
    const wrong = [
      'nope: 1',
      'config: other.yaml',
      'datapath: xdp',
      'nodeName: 7',
      'nodeName: ""',
      'nodeName: [a]',
      'nodeName: null',
      'bgpListen: {host: "::", port: 179}',
      'bgpListen: nowhere',
      'interfaces: "("',
      'socketLb: "yes"',
      '- a',
      '',
      'a: [',
    ]
    for (const text of wrong) await assert.rejects(options([], text), usage, text)
    await assert.rejects(options(['--node-name', 'n'], 'nodeName: 7'), usage)
  },
)

test('merge keys of the file are merged, and one that merges nothing is refused', async () => {
  const { datapath, socketLb } = await options([], '<<: {datapath: none, socketLb: true}\nsocketLb: false')
  assert.deepEqual([datapath, socketLb], ['none', false])
  await assert.rejects(options([], '<<: 5'), usage)
  await assert.rejects(options([], '<<: {nope: 1}'), usage)
})

test('sockets are led nowhere unless that is asked for, by a flag or by the file', async () => {
  const asked = async (flags: readonly string[], text?: string): Promise<unknown> => {
    const { socketLb, cgroupRoot } = await options(flags, text)
    return [socketLb, cgroupRoot]
  }
  assert.deepEqual(await asked([]), [false, '/sys/fs/cgroup'])
  assert.deepEqual(await asked(['--socket-lb', '--cgroup-root', '/run/cgroup']), [true, '/run/cgroup'])
  assert.deepEqual(await asked([], 'socketLb: true'), [true, '/sys/fs/cgroup'])
})

test('sockets whose backend is gone are ended in the network of the node, of UDP, unless more is asked for', async () => {
  const asked = async (flags: readonly string[]): Promise<unknown> => {
    const { podNetworks, endTcp } = await options(flags)
    return [podNetworks, endTcp]
  }
  assert.deepEqual(await asked([]), [undefined, false])
  assert.deepEqual(await asked(['--pod-networks', '/run/netns', '--end-tcp']), ['/run/netns', true])
})

test('kube-proxy is replaced only where that is asked for, and node ports have the addresses of the Node or of prefixes', async () => {
  const asked = async (flags: readonly string[], text?: string): Promise<unknown> => {
    const { kubeProxyReplacement, nodeportAddresses } = await options(flags, text)
    return [kubeProxyReplacement, nodeportAddresses]
  }
  assert.deepEqual(await asked([]), [false, 'primary'])
  const prefixes = ['192.0.2.0/24', '2001:db8::/64']
  const flags = ['--kube-proxy-replacement', '--nodeport-addresses', prefixes.join(', ')]
  assert.deepEqual(await asked(flags), [true, prefixes])
  const text = 'kubeProxyReplacement: true\nnodeportAddresses: primary'
  assert.deepEqual(await asked([], text), [true, 'primary'])
  for (const wrong of ['192.0.2.1', 'eth0', '192.0.2.0/33', '192.0.2.0/24,'])
    await assert.rejects(options([], `nodeportAddresses: "${wrong}"`), usage, wrong)
})

test('to whom Services are announced is told to an API server: with a folder it is refused', async () => {
  await assert.rejects(options(['--service-status-namespace', 'herald-system']), usage)
  await assert.rejects(options([], 'serviceStatusNamespace: herald-system'), usage)
})

test('an endpoint is an address with a port, or none', async () => {
  assert.equal((await options(['--bgp-listen', 'none'])).bgpListen, undefined)
  assert.deepEqual((await options(['--http', '[::]:0'])).http, { host: '::', port: 0 })
})

test('the name of the node is as kubelet has it, given or not: lower case, without blanks around it', async () => {
  assert.equal((await options(['--node-name', '  Node-A.Example.org '])).nodeName, 'node-a.example.org')
  assert.equal((await options([], 'nodeName: Worker7')).nodeName, 'worker7')
  const { nodeName } = await options([])
  assert.equal(nodeName, nodeName.trim().toLowerCase())
})
