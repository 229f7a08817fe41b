/**
 * `npm run bench -- past-netfilter`: what a connection costs to a pod, to a Service through the stack and to one past
 * netfilter, side by side, without and with the rules of kube-proxy (iptables) for 10 000 Services.
 *
 * A client, the node and a pod are network namespaces. The client connects by blocking calls, one at a time, and resets
 * what it has, so that no loop of Node's is in the figure; rounds alternate.
 */
import { fileURLToPath } from 'node:url'
import { buildBpf } from '../scripts/build-bpf.ts'
import type { ForwardMode } from '../src/datapath/datapath.ts'
import { frontendId } from '../src/desired/model.ts'
import { type Actor, deployRack, pods, type Rack, uplink, vip } from '../test/datapath/rack.ts'
import { median, printTable, type Row } from './report.ts'

const services = 10_000
const rounds = 5
const port = 8080
const subjects = ['a pod itself', 'a Service, stack', 'a Service, redirect'] as const
type Subject = (typeof subjects)[number]

export async function benchPastNetfilter(): Promise<void> {
  const ends: (() => unknown)[] = []
  try {
    const rack = deployRack({ after: (end: () => unknown) => void ends.push(end) })
    await rack.actor('pod').tell({ do: 'serve', port })
    const node = rack.actor('node')
    const without = await measure(rack, node)
    loadRules(rack)
    const beside = await measure(rack, node)
    printTable(`One connection, its handshake: without rules, and beside ${services} Services of kube-proxy`, [
      ...rowsOf('no rules', without),
      ...rowsOf(`${services} Services`, beside),
      gain(beside),
      ...lookRows(rack),
    ])
  } finally {
    for (const end of ends) await end()
  }
}

type Figures = Readonly<Record<Subject, number>>

async function measure(rack: Rack, node: Actor): Promise<Figures> {
  const found: Record<Subject, number[]> = { 'a pod itself': [], 'a Service, stack': [], 'a Service, redirect': [] }
  const [pod] = pods
  for (let round = 0; round < rounds; round++)
    for (const mode of ['stack', 'redirect'] as const) {
      await open(rack, node, mode)
      found[mode === 'stack' ? 'a Service, stack' : 'a Service, redirect'].push(connect(rack, vip, 80))
      if (mode === 'stack') found['a pod itself'].push(connect(rack, pod, port))
    }
  return Object.fromEntries(subjects.map((subject) => [subject, median(found[subject])])) as Figures
}

async function open(rack: Rack, node: Actor, mode: ForwardMode): Promise<void> {
  const backends = [{ address: pods[0], port }]
  const frontend = { service: 'default/web', address: vip, protocol: 'TCP', port: 80, backends } as const
  await node.tell({
    ...{ do: 'datapath', bpffs: rack.bpffs, objectFile: buildBpf(), attach: 'tcx', mode },
    ...{ interfaces: [uplink], frontends: [{ ...frontend, id: frontendId(vip, 'TCP', 80) }] },
  })
}

/** The median of what a handshake takes, in microseconds. */
function connect(rack: Rack, address: string, at: number): number {
  const script = fileURLToPath(new URL('connect.ts', import.meta.url))
  return Number(rack.run('client', [process.execPath, script, address, String(at)]))
}

/** As kube-proxy makes them; of what it has for each Service all that a packet meets, and its two endpoints. */
function loadRules(rack: Rack): void {
  const chains = Array.from({ length: services }, (_, n) => [`SVC-${n}`, `SEP-${n}A`, `SEP-${n}B`]).flat()
  const rules = Array.from({ length: services }, (_, n) => {
    const address = `10.${128 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}/32`
    const comment = `-m comment --comment "default/svc-${n} cluster IP"`
    return [
      `-A KUBE-SERVICES -d ${address} -p tcp ${comment} -m tcp --dport 80 -j KUBE-SVC-${n}`,
      `-A KUBE-SVC-${n} ${comment} -m statistic --mode random --probability 0.5 -j KUBE-SEP-${n}A`,
      `-A KUBE-SVC-${n} ${comment} -j KUBE-SEP-${n}B`,
      ...[5, 6].map(
        (pod) => `-A KUBE-SEP-${n}${pod === 5 ? 'A' : 'B'} -p tcp -j DNAT --to-destination 10.1.0.${pod}:8080`,
      ),
    ]
  }).flat()
  const text = [
    ...['*filter', ':KUBE-FORWARD - [0:0]', '-A FORWARD -j KUBE-FORWARD'],
    ...['-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP', 'COMMIT'],
    ...['*nat', ':KUBE-SERVICES - [0:0]', ...chains.map((chain) => `:KUBE-${chain} - [0:0]`)],
    ...['-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES', ...rules, 'COMMIT', ''],
  ].join('\n')
  rack.run('node', ['iptables-restore'], text)
}

const us = (value: number): string => `${value.toFixed(value < 100 ? 1 : 0)} us`

const rowsOf = (rules: string, figures: Figures): readonly Row[] =>
  subjects.map((subject) => ({ what: `${rules}: ${subject}, p50`, value: us(figures[subject]) }))

function gain(figures: Figures): Row {
  const times = figures['a pod itself'] / figures['a Service, redirect']
  return { what: 'a pod itself / redirect', value: `${times.toFixed(1)}x`, goal: '>= 8x', isMet: times >= 8 }
}

/** What the agent's loop spends on seeing that nothing enforces policies, with these rules there. */
function lookRows(rack: Rack): readonly Row[] {
  const script = fileURLToPath(new URL('netfilter-look.ts', import.meta.url))
  const figures = JSON.parse(rack.run('node', [process.execPath, script])) as LookFigures
  const minuteMs = 20 * figures.glanceMs + 2 * figures.readMs
  return [
    { what: 'auto: rules read for the first time', value: `${figures.firstMs.toFixed(1)} ms` },
    { what: 'auto: a glance whether they have changed', value: us(figures.glanceMs * 1000) },
    {
      what: 'auto: of each minute, while they do not',
      value: `${minuteMs.toFixed(1)} ms`,
      goal: '< 5 ms',
      isMet: minuteMs < 5,
    },
  ]
}

interface LookFigures {
  readonly firstMs: number
  readonly glanceMs: number
  readonly readMs: number
}
