import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parseTopology, splitCommand } from '../../lab/topology.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** The problems that a text is refused with, without the file name. */
function problemsOf(text: string): string[] {
  try {
    parseTopology(text, 'f')
    return []
  } catch (error) {
    return error instanceof Error ? error.message.split('\n').map((line) => line.replace(/^f:/, '')) : []
  }
}

const node = (more: string): string =>
  `name: t\ntopology:\n  nodes:\n    a:\n      kind: linux\n      image: alpine\n${more}`

test('the rack is accepted: two routers, three nodes with both of them, four pods, one client', () => {
  const file = join(root, 'containerlab/rack/topology.clab.yml')
  const { name, nodes, links } = parseTopology(readFileSync(file, 'utf8'), file)
  assert.equal(name, 'rack')
  assert.deepEqual(
    nodes.map((each) => each.name),
    ['tor1', 'tor2', 'node1', 'node2', 'node3', 'pod1a', 'pod1b', 'pod2a', 'pod3a', 'client'],
  )
  assert.equal(links.length, 12)
  const tor1 = nodes[0]
  assert.deepEqual(
    tor1?.binds.map((bind) => bind.target),
    ['/etc/frr/daemons', '/etc/frr/vtysh.conf', '/etc/frr/frr.conf'],
  )
  assert.equal(tor1?.sysctls['net.ipv4.fib_multipath_hash_policy'], '1')
})

test('settings merge as in containerlab: lists are joined, maps merged, scalars replaced, the nearest last', () => {
  const text = `
name: t
topology:
  defaults: {kind: linux, image: one, env: {A: "1", B: "1"}, exec: [d]}
  kinds: {linux: {env: {B: "2", C: "2"}, exec: [k]}}
  groups: {g: {image: two, exec: [g], cmd: sleep 1}}
  nodes:
    a: {group: g, env: {C: "3"}, exec: [n], cmd: sleep 2}
    b:
`
  const [a, b] = parseTopology(text, 'f').nodes
  assert.deepEqual(
    { image: a?.image, env: a?.env, exec: a?.exec, cmd: a?.cmd },
    { image: 'two', env: { A: '1', B: '2', C: '3' }, exec: [['d'], ['k'], ['g'], ['n']], cmd: ['sleep', '2'] },
  )
  assert.equal(b?.image, 'one')
})

test('a key that namespaces cannot honour is refused with its line, never ignored', () => {
  assert.match(problemsOf(node('      ports: ["80:80"]\n'))[0] ?? '', /^7: node a: "ports" cannot be honoured/)
  assert.match(problemsOf('name: t\nmgmt: {network: x}\ntopology: {nodes: {}}\n')[0] ?? '', /^2: the file: "mgmt"/)
  assert.match(
    problemsOf(node('  links:\n    - endpoints: ["a:eth1", "a:eth2"]\n      vars: {}\n'))[0] ?? '',
    /^9: link: "vars"/,
  )
})

test('a kind other than linux, a network mode other than none and an unknown group are refused with their line', () => {
  assert.match(problemsOf(node('').replace('kind: linux', 'kind: ceos'))[0] ?? '', /^4: node a: kind "ceos"/)
  assert.match(problemsOf(node('      network-mode: host\n'))[0] ?? '', /^7: node a: network-mode "host"/)
  assert.match(problemsOf(node('      group: nowhere\n'))[0] ?? '', /^4: node a: group "nowhere" is not defined/)
})

test('links must join two known nodes by interfaces that fit and are used once', () => {
  const links = (text: string): string[] => problemsOf(node(`  links:\n    - endpoints: ${text}\n`))
  assert.deepEqual(links('["a:eth1", "a:eth2"]'), [])
  assert.match(links('["a:eth1", "b:eth1"]')[0] ?? '', /^8: link: there is no node "b"/)
  assert.match(links('["a:eth1", "a:eth1"]')[0] ?? '', /^8: link: a:eth1 is used twice/)
  assert.match(links('["a:eth1", "a:sixteen-letters-"]')[0] ?? '', /at most 15 characters/)
  assert.match(links('["a:eth1"]')[0] ?? '', /write two endpoints/)
})

test('broken YAML and broken binds are refused with their line', () => {
  assert.match(problemsOf('name: t\ntopology: [\n').join('\n'), /^3: /)
  assert.match(
    problemsOf(node('      binds: [relative]\n'))[0] ?? '',
    /^4: node a: bind "relative" is not source:\/target/,
  )
  assert.match(problemsOf('')[0] ?? '', /^1: the file is not a mapping/)
})

test('every problem of a file is told at once', () => {
  assert.equal(problemsOf(node('      ports: []\n      labels: {}\n')).length, 2)
})

test('command lines are split as by a shell without expansion', () => {
  assert.deepEqual(splitCommand(`vtysh -c "show ip route" -c 'a b' x\\ y $HOME`), [
    'vtysh',
    '-c',
    'show ip route',
    '-c',
    'a b',
    'x y',
    '$HOME',
  ])
  assert.deepEqual(splitCommand(`a "b \\"c\\"" d'e'f ''`), ['a', 'b "c"', 'def', ''])
  assert.deepEqual(splitCommand('  '), [])
})
