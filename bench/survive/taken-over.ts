/**
 * Another speaker (FRR, as MetalLB has it) and what kube-proxy does (DNAT by iptables) on every node, and then node by
 * node an agent in the place of the speaker. What has been begun by the rules of a node may meet another pod by its
 * agent, as docs/migrate.md says; what is judged is whether a Service is out of reach: each is asked by a datagram ten
 * times a second.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { backAgain, type Event } from './events.ts'
import { lossText } from './loss.ts'
import { datagramPort, datagramServicePort, servicePort, tcpPort } from './ports.ts'
import type { Stage } from './stage.ts'

const leaseColumns = 'custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name'
const routers = ['192.168.1.1', '192.168.2.1'] as const
const folder = '/run/former'
const pidFile = `${folder}/bgpd.pid`
const unruled = 'iptables -t nat -D PREROUTING -j FORMER; iptables -t nat -F FORMER; iptables -t nat -X FORMER'

interface Former {
  readonly restartsGracefully: boolean
}

function takenOver(what: string, former: Former): Event {
  return {
    what,
    goal: '0 datagrams lost',
    // In a folder every node is believed to take packets in tunnels; Leases tell which have an agent already.
    isOfServer: true,
    run: async (stage) => {
      const { lab, rack } = stage
      for (const node of rack.nodes) await lab.killCommand(node, 'INT')
      // Nobody has been here: whose Lease is found is believed to take packets.
      const leases = await stage.cluster?.kubectl(
        'get',
        'leases',
        '--all-namespaces',
        '--no-headers',
        '--output',
        leaseColumns,
      )
      for (const [, namespace = '', name = ''] of (leases ?? '').matchAll(/^(\S+) +(\S+)$/gm))
        if (!/operator/.test(name)) await stage.cluster?.kubectl('delete', 'lease', name, '--namespace', namespace)
      for (const node of rack.nodes) {
        await lab.node(node).must(['herald', 'lb', 'unload'])
        await begin(stage, node, former)
      }
      await stage.whole(60_000)
      await stage.spread()
      const loss = await stage.measured(async () => {
        for (const node of rack.nodes) {
          // A pod that is deleted is told to end; one that dies says nothing, and the router keeps its routes.
          const signal = former.restartsGracefully ? 'KILL' : 'TERM'
          await lab.node(node).must(['sh', '-c', `kill -${signal} "$(cat ${pidFile})"`])
          lab.startCommand(node)
          await backAgain(stage)
        }
      })
      for (const node of rack.nodes) await lab.node(node).must(['sh', '-c', unruled])
      await stage.spread()
      // Connections end: the pods of other nodes know nothing of them while rules serve there.
      return { value: lossText(loss), isMet: loss.datagramsLost === 0 }
    },
  }
}

export const takenOverFrom = takenOver('another speaker replaced by an agent, node by node', {
  restartsGracefully: false,
})
export const takenOverGracefully = takenOver('the same with graceful restart at the router', {
  restartsGracefully: true,
})

async function begin(stage: Stage, node: string, former: Former): Promise<void> {
  const { lab, rack } = stage
  const own = await rack.addressesOf(node)
  const files = { rules: rulesOf(stage, node), speaker: speakerOf(stage, own, former) }
  const paths = Object.entries(files).map(([name, text]) => {
    const path = join(lab.workFolder, `${node}.${name}`)
    writeFileSync(path, text)
    return path
  })
  const [rules = '', speaker = ''] = paths
  await lab.node(node).must(['iptables-restore', '--noflush', rules])
  const places = `install -d -o frr -g frr ${folder} && install -o frr "$1" ${folder}/bgpd.conf`
  await lab.node(node).must(['sh', '-c', places, 'sh', speaker])
  const where = ['-f', `${folder}/bgpd.conf`, '-i', pidFile, '--vty_socket', folder]
  await lab.node(node).must(['/usr/lib/frr/bgpd', '-d', '-Z', '-P', '0', ...where])
}

function speakerOf({ addresses }: Stage, own: readonly string[], { restartsGracefully }: Former): string {
  const id = own.find((address) => /^192\.168\.1\.\d+$/.test(address)) ?? '192.168.1.99'
  return [
    'router bgp 65001',
    ` bgp router-id ${id}`,
    ' no bgp ebgp-requires-policy',
    ' no bgp network import-check',
    ...(restartsGracefully ? [' bgp graceful-restart', ' bgp graceful-restart preserve-fw-state'] : []),
    ...routers.flatMap((router) => [
      ` neighbor ${router} remote-as 65000`,
      ` neighbor ${router} timers 3 9`,
      ` neighbor ${router} timers connect 2`,
    ]),
    ' address-family ipv4 unicast',
    ...addresses.map((address) => `  network ${address}/32`),
    ' exit-address-family',
    '',
  ].join('\n')
}

/** As kube-proxy serves external traffic of policy Local: by the pods of the node, with the client's address. */
function rulesOf({ addresses, endpoints }: Stage, node: string): string {
  const pods = endpoints.filter((endpoint) => endpoint.node === node).map(({ address }) => address)
  const ports = [
    ['tcp', servicePort, tcpPort],
    ['udp', datagramServicePort, datagramPort],
  ] as const
  const rules = addresses.flatMap((address) =>
    ports.flatMap(([protocol, port, podPort]) => {
      return pods.map((pod, n) => {
        const share = n === pods.length - 1 ? '' : ` -m statistic --mode random --probability ${1 / (pods.length - n)}`
        const to = `-j DNAT --to-destination ${pod}:${podPort}`
        return `-A FORMER -d ${address}/32 -p ${protocol} --dport ${port}${share} ${to}`
      })
    }),
  )
  return ['*nat', ':FORMER - [0:0]', '-A PREROUTING -j FORMER', ...rules, 'COMMIT', ''].join('\n')
}
