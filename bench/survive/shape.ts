/**
 * What the rack of the lab becomes for an event: pods that serve the load, agents whose folder and state lie where an
 * event can get at them, more nodes, or an API server in place of the folder.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ControlPlanePrograms, withControlPlane } from '../../lab/control-plane.ts'
import type { Lab } from '../../lab/runner.ts'
import type { Topology, TopologyLink, TopologyNode } from '../../lab/topology.ts'

export interface StageShape {
  /** Three, as the rack has them, or more of the third's kind: up to eight. */
  readonly nodes: number
  /** Agents read an API server; absent: a folder. */
  readonly programs?: ControlPlanePrograms & { readonly version: string }
}

export const stateFolder = '/run/herald'
/** Small, so that it can be filled. */
export const folderOption = 'size=8m'
/** The node that others are made like. */
const last = 3
const routers = ['tor1', 'tor2'] as const

export function shaped(topology: Topology, workFolder: string, { nodes, programs }: StageShape): Topology {
  const wider = withNodes(topology, nodes)
  const own = { ...wider, nodes: wider.nodes.map(withLoad) }
  return programs === undefined ? own : withControlPlane(own, workFolder, programs)
}

const further = (nodes: number): readonly number[] => Array.from({ length: nodes - last }, (_, n) => last + 1 + n)

/** `node3`, `pod3a`, `192.168.1.13`, `fd00:1::13`, `10.244.3.10`, `fd00:10:244:3::10` of another number. */
function numbered(text: string, n: number): string {
  return text
    .replace(/\b(node|pod)3/g, `$1${n}`)
    .replace(/(192\.168\.\d\.|fd00:\d::)13\b/g, `$1${10 + n}`)
    .replace(/10\.244\.3\./g, `10.244.${n}.`)
    .replace(/fd00:10:244:3::/g, `fd00:10:244:${n}::`)
}

/** An interface of a router of its own for each: those of the rack are taken. */
function withNodes(topology: Topology, nodes: number): Topology {
  const like = topology.nodes.filter(({ name }) => name === `node${last}` || name === `pod${last}a`)
  const port = (n: number): string => `eth${n + 1}`
  const added = further(nodes).flatMap((n) =>
    like.map((node): TopologyNode => JSON.parse(numbered(JSON.stringify(node), n))),
  )
  const isLike = ({ ends }: TopologyLink): boolean => ends.some(({ node }) => node === `node${last}`)
  const links = further(nodes).flatMap((n) =>
    topology.links.filter(isLike).map((link): TopologyLink => {
      const [near, far] = link.ends.map(({ node, interface: device }) => ({
        node: numbered(node, n),
        interface: routers.some((router) => router === node) ? port(n) : numbered(device, n),
      })) as [TopologyLink['ends'][0], TopologyLink['ends'][1]]
      return { ...link, ends: [near, far] }
    }),
  )
  const bridged = further(nodes).map((n) => ['ip', 'link', 'set', port(n), 'master', 'br0'])
  const own = topology.nodes.map((node) =>
    routers.some((router) => router === node.name) ? { ...node, exec: [...node.exec, ...bridged] } : node,
  )
  return { ...topology, nodes: [...own, ...added], links: [...topology.links, ...links] }
}

/** The Nodes of the rack's manifests, and of those that were added. */
export function nodeManifests(lab: Lab, { nodes }: StageShape): string {
  const text = readFileSync(join(lab.folder, 'manifests/nodes.yaml'), 'utf8').trimEnd()
  const third = text.slice(text.lastIndexOf('\n---\n'))
  return `${[text, ...further(nodes).map((n) => numbered(third, n))].join('\n')}\n`
}

/** Routers take the sessions of nodes that their files do not name. */
export async function introduceNodes(lab: Lab, { nodes }: StageShape): Promise<void> {
  for (const [index, router] of routers.entries()) {
    const neighbors = further(nodes).map((n) => `neighbor 192.168.${index + 1}.${10 + n} peer-group nodes`)
    const lines = ['configure terminal', 'router bgp 65000', ...neighbors]
    await lab.node(router).must(['vtysh', ...lines.flatMap((line) => ['-c', line])])
  }
}

/** Agents read a folder inside of one that is bound, and their state lies where little room is. */
function withLoad(node: TopologyNode): TopologyNode {
  if (node.group === 'pod')
    return { ...node, cmd: ['node', fileURLToPath(new URL('pod.ts', import.meta.url))], binds: [] }
  if (node.group !== 'node') return node
  const room = `mkdir -p ${stateFolder} && mount -t tmpfs -o ${folderOption} tmpfs ${stateFolder}`
  return {
    ...node,
    cmd: node.cmd.map((word) => (word === '/run/manifests' ? '/run/config/manifests' : word)),
    binds: [{ source: 'config', target: '/run/config', isReadOnly: false }],
    exec: [['sh', '-c', room], ...node.exec],
  }
}
