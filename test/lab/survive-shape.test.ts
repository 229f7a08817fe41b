/** The rack as the stages of `npm run bench -- survive` make it: wider, and at an API server. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { shaped } from '../../bench/survive/shape.ts'
import { parseTopology } from '../../lab/topology.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const file = join(root, 'containerlab/rack/topology.clab.yml')
const rack = parseTopology(readFileSync(file, 'utf8'), file)
const programs = { etcd: '/etcd', apiserver: '/kube-apiserver', kubectl: '/kubectl', helm: '/helm', version: '1.36.1' }

test('a stage of eight nodes has five more of the third, each with a pod, both routers and addresses of its own', () => {
  const { nodes, links } = shaped(rack, '/work', { nodes: 8 })
  const names = (group: string): readonly string[] =>
    nodes.filter((node) => node.group === group).map(({ name }) => name)
  assert.deepEqual(
    names('node'),
    [1, 2, 3, 4, 5, 6, 7, 8].map((n) => `node${n}`),
  )
  assert.deepEqual(names('pod').slice(4), ['pod4a', 'pod5a', 'pod6a', 'pod7a', 'pod8a'])
  const ends = links.flatMap((link) => link.ends.map((end) => `${end.node}:${end.interface}`))
  assert.equal(new Set(ends).size, ends.length, 'no interface is there twice')
  const linked = (name: string): readonly string[] =>
    links
      .filter((link) => link.ends.some(({ node }) => node === name))
      .flatMap((link) => link.ends.map(({ node }) => node).filter((node) => node !== name))
  for (const n of [3, 4, 8]) assert.deepEqual(linked(`node${n}`).toSorted(), [`pod${n}a`, 'tor1', 'tor2'])
  const addresses = nodes.flatMap(({ exec }) =>
    exec.flatMap((words) =>
      words.includes('addr') && words.includes('eth1') ? words.filter((word) => word.includes('/')) : [],
    ),
  )
  assert.equal(new Set(addresses).size, addresses.length, addresses.join(' '))
  assert.equal(nodes.find(({ name }) => name === 'pod8a')?.env['NODE_NAME'], 'node8')
  const bridged = nodes.find(({ name }) => name === 'tor2')?.exec.filter((words) => words.includes('master')) ?? []
  assert.deepEqual(
    bridged.map((words) => words[3]),
    ['eth1', 'eth2', 'eth3', 'eth5', 'eth6', 'eth7', 'eth8', 'eth9'],
  )
})

test('a stage at an API server has agents that read it and no folder, and pods that serve the load', () => {
  const { nodes } = shaped(rack, '/work', { nodes: 3, programs })
  const agents = nodes.filter(({ cmd }) => cmd[0] === 'agent')
  assert.equal(agents.length, 3)
  for (const { cmd } of agents) assert.ok(cmd.includes('--kubeconfig') && !cmd.includes('--manifests'), cmd.join(' '))
  assert.ok(['etcd', 'apiserver', 'operator'].every((name) => nodes.some((node) => node.name === name)))
  for (const { cmd } of nodes.filter(({ group }) => group === 'pod')) assert.match(cmd.join(' '), /^node .*pod\.ts$/)
})
