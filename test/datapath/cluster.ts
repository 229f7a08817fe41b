/**
 * Several nodes as datapaths of one process: what one of them hands on is given to the other, octet by octet. Nothing
 * is sent: test runs of the programs answer with what would be.
 */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { tunnelPort } from '../../src/datapath/datapath.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import type { KernelDatapathOptions } from '../../src/datapath/loading.ts'
import type { Backend, Protocol } from '../../src/desired/model.ts'
import type { TestRun } from '../../src/sys/bpf.ts'
import { early } from './early.ts'
import { egress, frontendOf, ingress, kernelFixture, verdict } from './fixture.ts'
import { frame, ipOctets, parse, UDP, type Parsed } from './frames.ts'

export const tunnelBytes = 8 + 20
const etherBytes = 14

export interface Node {
  readonly address: string
  readonly bpffs: string
  readonly datapath: KernelDatapath
}

/** Where a packet came by, and what became of it at the last of them. */
export interface Journey extends TestRun {
  readonly path: readonly number[]
}

/** A backend, and the number of the node where it is. */
export interface Homed {
  readonly backend: Backend
  readonly home: number
}

export interface Cluster {
  readonly nodes: readonly Node[]
  node(index: number): Node
  /** Every node knows the same backends, each its own as such; `only`: the nodes that hear of it. */
  serve(address: string, port: number, backends: readonly Homed[], options?: ServeOptions): void
  /** Follows a packet from node to node. */
  send(index: number, bytes: Uint8Array): Journey
  reply(index: number, bytes: Uint8Array): TestRun
  /** The agent of a node is started anew, and adopts what its programs serve. */
  reopen(index: number, options: Partial<KernelDatapathOptions>): void
}

export interface ServeOptions {
  readonly protocol?: Protocol
  readonly resting?: readonly Homed[]
  readonly only?: readonly number[]
}

export function clusterOf(
  t: TestContext,
  addresses: readonly string[],
  options: Partial<KernelDatapathOptions> = {},
): Cluster {
  const fixtures = addresses.map(() => kernelFixture(t))
  const opened = (index: number, more: Partial<KernelDatapathOptions>): Node => {
    const { bpffs, open } = fixtures[index] ?? assert.fail()
    const [address = ''] = addresses.slice(index)
    const datapath = open({ ...options, ...more })
    datapath.setNodes({ own: [address], others: addresses.filter((other) => other !== address) })
    return { address, bpffs, datapath }
  }
  const nodes = addresses.map((_, index) => opened(index, {}))
  if (early.isChosen) early.meet(addresses)
  const node = (index: number): Node => {
    const found = nodes[index]
    assert.ok(found !== undefined, `node ${index}`)
    return found
  }
  const seenBy = (index: number, list: readonly Homed[]): readonly Backend[] =>
    list.map(({ backend, home }) => (home === index ? backend : { ...backend, node: node(home).address }))
  return {
    nodes,
    node,
    serve: (address, port, backends, { protocol = 'TCP', resting = [], only } = {}) => {
      for (const [index, { datapath }] of nodes.entries())
        if (only === undefined || only.includes(index))
          datapath.upsert({
            ...frontendOf(address, port, seenBy(index, backends), protocol),
            resting: seenBy(index, resting),
          })
    },
    send: (index, bytes) => {
      const path = [index]
      for (let run = ingress(node(index).datapath, bytes); ; ) {
        const target = run.verdict === verdict.redirect ? targetOf(run.packet, addresses) : -1
        if (target < 0) return { ...run, path }
        path.push(target)
        assert.ok(path.length <= 5, `a loop: ${path.join(' ')}`)
        run = ingress(node(target).datapath, run.packet)
      }
    },
    reply: (index, bytes) => egress(node(index).datapath, bytes),
    reopen: (index, more) => {
      node(index).datapath.close()
      nodes[index] = opened(index, more)
    },
  }
}

/** The node to which a packet is handed on; -1 when it is no such packet. */
function targetOf(packet: Uint8Array, addresses: readonly string[]): number {
  const { protocol, destination, destinationPort } = parse(packet)
  return protocol === UDP && destinationPort === tunnelPort ? addresses.indexOf(destination) : -1
}

export interface TunnelOptions {
  readonly from: string
  readonly to: string
  readonly backend: Backend
  /** 1: nobody hands it on again; above it how often it was handed on before. */
  readonly flags?: number
  readonly version?: number
  readonly port?: number
  readonly sourcePort?: number
  readonly cut?: number
}

/** A packet as a node hands it on, built independently of the programs. */
export function handedOn(inner: Uint8Array, options: TunnelOptions): Uint8Array {
  const address = ipOctets(options.backend.address)
  const { port } = options.backend
  const mapped = address.length === 4 ? [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...address] : address
  const header = [options.version ?? 1, options.flags ?? 0, port >> 8, port & 255, ...mapped]
  const rest = [...header, ...inner.slice(etherBytes)].slice(0, options.cut)
  const [source, destination] = [options.sourcePort ?? 50_000, options.port ?? tunnelPort]
  const length = 8 + rest.length
  const udp = [source >> 8, source & 255, destination >> 8, destination & 255, length >> 8, length & 255, 0, 0]
  return frame({
    source: options.from,
    destination: options.to,
    protocol: UDP,
    payload: Uint8Array.from([...udp, ...rest]),
    ...(options.from.includes(':') ? {} : { fragment: 0x4000, identification: 0 }),
  })
}

/** The packet that a node hands on, without what is around it. */
export function innerOf(packet: Uint8Array): Uint8Array {
  const { l4 } = parse(packet)
  const inner = packet.slice(l4 + tunnelBytes)
  const type = (inner[0] ?? 0) >> 4 === 6 ? [0x86, 0xdd] : [8, 0]
  return Uint8Array.from([...packet.slice(0, 12), ...type, ...inner])
}

export function translated(run: TestRun): Parsed {
  assert.equal(run.verdict, verdict.pass)
  return parse(run.packet)
}
