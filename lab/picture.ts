/** What the lab shows in the end: pure text from what the rack said. */
import type { RouteTable } from './rack.ts'

export interface Served {
  readonly url: string
  readonly pod: string
  readonly node: string
  readonly client: string
  readonly tookMs: number
}

export interface Picture {
  readonly nodes: readonly string[]
  /** Router to node to FSM state. */
  readonly sessions: ReadonlyMap<string, ReadonlyMap<string, string>>
  readonly routes: ReadonlyMap<string, RouteTable>
  /** Prefix to what it is, `default/web` or `PodCIDR`. */
  readonly meaning: ReadonlyMap<string, string>
  readonly served: Served | undefined
  readonly spread: Readonly<Record<string, number>>
  readonly workFolder: string
  readonly folder: string
  /** Where the agents read an API server: the administrator's kubeconfig, and the folder of a kubectl. */
  readonly api?: { readonly kubeconfig: string; readonly programs: string } | undefined
  readonly webAddress: string | undefined
}

export type Bold = (text: string) => string

export function drawPicture(picture: Picture, bold: Bold): string[] {
  return [
    '',
    ...diagram,
    '',
    bold('  Sessions, as the routers see them'),
    ...columns([
      ['', ...picture.nodes],
      ...[...picture.sessions].map(([router, states]) => [
        router,
        ...picture.nodes.map((node) => states.get(node) ?? '-'),
      ]),
    ]),
    '',
    ...routeLines(picture, bold),
    ...servedLines(picture, bold),
    ...tryNext(picture, bold),
  ]
}

const diagram = [
  '                     client 203.0.113.10',
  '                    ┌─────────┴─────────┐',
  '              tor1 AS 65000       tor2 AS 65000          FRR',
  '                    └─────────┬─────────┘                every node is on a segment of each router',
  '         ┌────────────────────┼────────────────────┐     and has a session with both',
  '       node1                node2                node3   AS 65001, herald agent',
  '      ┌──┴──┐                 │                    │',
  '    pod1a pod1b             pod2a                pod3a   HTTP and UDP servers',
]

/** Columns padded to their widest cell. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows.reduce<number[]>((widest, row) => row.map((cell, i) => Math.max(cell.length, widest[i] ?? 0)), [])
  return rows.map((row) => `    ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('   ')}`.trimEnd())
}

function routeLines({ routes, meaning }: Picture, bold: Bold): string[] {
  const routers = [...routes.keys()]
  const prefixes = [...new Set([...routes.values()].flatMap((table) => [...table.keys()]))].sort()
  const hopsText = (router: string, prefix: string): string => (routes.get(router)?.get(prefix) ?? ['-']).join(' ')
  const rows = prefixes.map((prefix) => [
    prefix,
    meaning.get(prefix) ?? '',
    ...routers.map((router) => hopsText(router, prefix)),
  ])
  return [
    bold('  Routes in the routers, with the nodes they lead to (several: ECMP)'),
    ...columns([['', '', ...routers], ...rows]),
    '',
  ]
}

function servedLines({ served, spread }: Picture, bold: Bold): string[] {
  if (served === undefined)
    return [bold('  Served'), '    nothing: without eBPF on this machine the agents announce and do not serve', '']
  return [
    bold('  A request, served'),
    `    client ${served.client}  ->  ${served.url}  ->  ${served.node}  ->  ${served.pod}    ` +
      `${served.tookMs.toFixed(1)} ms`,
    `    40 more: ${Object.entries(spread)
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([who, count]) => `${who} ${count}`)
      .join(', ')}`,
    '',
  ]
}

function tryNext({ workFolder, folder, api, webAddress, served }: Picture, bold: Bold): string[] {
  const rows = [
    [`${workFolder}/node1 herald status`, ''],
    [`${workFolder}/node1 herald explain service default/echo`, 'why node1 does not announce it'],
    ...(served === undefined ? [] : [[`${workFolder}/${served.node} herald observe -f`, 'flows, as they come and go']]),
    [`${workFolder}/tor1 vtysh -c 'show ip route bgp'`, ''],
    ...(webAddress === undefined
      ? []
      : [[`${workFolder}/client curl -s http://${webAddress}/`, 'again and again: who answers?']]),
    ...(api === undefined
      ? [[`rm ${folder}/manifests/echo.yaml`, 'a Service is deleted: look at the routes']]
      : [
          [`export KUBECONFIG=${api.kubeconfig}`, 'the administrator; for kubectl, helm, herald'],
          [`export PATH=$PATH:${api.programs}`, 'where there is no kubectl or helm yet'],
          ['kubectl get svc,bgpp,cbgpnode', 'addresses in status, the policy in force, sessions of every node'],
          ['bin/herald explain service echo --cluster', 'who announces it, and why the others do not'],
          ['kubectl delete svc echo', 'a Service is deleted: look at the routes'],
        ]),
    [`${workFolder}/node1 sh -c 'kill -9 $(cat /run/cmd.pid)'`, 'the agent dies: routes and traffic stay'],
    api === undefined
      ? [`$EDITOR ${folder}/manifests/*.yaml`, 'what the agents read; applied as you save']
      : [`kubectl apply -f ${folder}/manifests`, 'everything as it was'],
  ]
  return [bold('  Try next, in another terminal'), ...columns(rows)]
}
