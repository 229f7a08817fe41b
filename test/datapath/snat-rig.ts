/** A node of which a Service has its pod on another one that takes no packets: its packets, there and back. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import type { KernelDatapathOptions } from '../../src/datapath/loading.ts'
import { type Frontend, type PortRange, translatedNode } from '../../src/desired/model.ts'
import type { TestRun } from '../../src/sys/bpf.ts'
import type { Family } from './family.ts'
import { frontendOf, ingress, kernelFixture, verdict } from './fixture.ts'
import { parse, type Parsed, tcpFlag, tcpFrame } from './frames.ts'
import { enterNetwork, ip, layCable } from './network.ts'

const { SYN, ACK } = tcpFlag
export const ports: PortRange = { first: 61_000, last: 65_095 }

export interface Rig {
  readonly datapath: KernelDatapath
  readonly bpffs: string
  serve(backends: Frontend['backends'], more?: Partial<Frontend>): void
  send(bytes: Uint8Array): TestRun
}

interface Said {
  readonly seq?: number
  readonly ack?: number
  readonly data?: Uint8Array
}

export interface SnatWorld {
  readonly own: string
  readonly pod: Frontend['backends'][number]
  /** The network of this process, with a way to clients, to other nodes, and a narrow one to pods. */
  enter(): void
  rigOf(t: TestContext, range?: PortRange, options?: Partial<KernelDatapathOptions>): Rig
  toVip(sourcePort: number): Record<'source' | 'destination', string> & Record<'sourcePort' | 'destinationPort', number>
  fromClient(flags: number, sourcePort?: number, more?: Said): Uint8Array
  fromPod(port: number, flags: number, more?: Said): Uint8Array
  /** The port of this node by which a packet left for the pod. */
  portOf(run: TestRun): number
  /** A connection of which both ends know; its port. */
  connected(rig: Rig, sourcePort: number): number
}

/** What left, which is right in every respect. */
export function left(run: TestRun): Parsed {
  assert.equal(run.verdict, verdict.redirect)
  const parsed = parse(run.packet)
  assert.ok(parsed.isIpChecksumRight && parsed.isL4ChecksumRight)
  return parsed
}

export function snatWorld({ vip, client, podAt, nodeAt, isIpv6 }: Family): SnatWorld {
  const own = nodeAt(250)
  const pod = { address: podAt(5), port: 8080, node: translatedNode }
  const toVip: SnatWorld['toVip'] = (sourcePort) => ({
    source: client,
    destination: vip,
    sourcePort,
    destinationPort: 80,
  })
  const fromClient: SnatWorld['fromClient'] = (flags, sourcePort = 40_000, more = {}) =>
    tcpFrame({ ...toVip(sourcePort), flags, ack: flags & ACK ? 7 : 0, ...more })
  const fromPod: SnatWorld['fromPod'] = (port, flags, more = {}) =>
    tcpFrame({ source: pod.address, destination: own, sourcePort: 8080, destinationPort: port, flags, ...more })
  const portOf: SnatWorld['portOf'] = (run) => {
    const { source, destination, destinationPort, sourcePort } = left(run)
    assert.deepEqual([source, destination, destinationPort], [own, pod.address, 8080])
    return sourcePort
  }
  return {
    ...{ own, pod, toVip, fromClient, fromPod, portOf },
    enter: () => {
      enterNetwork()
      layCable('up0', [own, isIpv6 ? '2001:db8:51:100::250' : '198.51.100.250'])
      layCable('pods0', [podAt(250)])
      ip('link', 'set', 'pods0', 'mtu', '1400')
    },
    rigOf: (t, range = ports, options = {}) => {
      const fixture = kernelFixture(t)
      const datapath = fixture.open(options)
      datapath.setNodes({ own: [own], others: [nodeAt(2)], snatPorts: range })
      const serve: Rig['serve'] = (backends, more = {}) => {
        for (const protocol of ['TCP', 'UDP'] as const)
          datapath.upsert({ ...frontendOf(vip, 80, backends, protocol), ...more })
      }
      serve([pod])
      return { datapath, bpffs: fixture.bpffs, serve, send: (bytes) => ingress(datapath, bytes) }
    },
    connected: ({ send }, sourcePort) => {
      const port = portOf(send(fromClient(SYN, sourcePort)))
      const back = left(send(fromPod(port, SYN | ACK, { seq: 6, ack: 1001 })))
      assert.deepEqual(
        [back.source, back.sourcePort, back.destination, back.destinationPort],
        [vip, 80, client, sourcePort],
      )
      assert.equal(portOf(send(fromClient(ACK, sourcePort, { seq: 1001, ack: 7 }))), port)
      return port
    },
  }
}
