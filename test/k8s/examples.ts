/**
 * Configurations as the documentation of MetalLB and Cilium has them, written anew in `examples/`, each with what comes
 * of it on node-a in lines that begin with `#=`. To write these lines anew: node test/k8s/examples.ts; what changes is
 * part of the review.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { DesiredDelta, Neighbor, Route } from '../../src/desired/model.ts'
import { readDocuments } from '../../src/k8s/documents.ts'
import { slice, slice6, translatorWith } from './manifests.ts'

const folder = new URL('examples/', import.meta.url)
const mark = '#= '

export interface Example {
  readonly name: string
  readonly manifests: string
  readonly outcome: readonly string[]
}

export function examples(): readonly Example[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.yaml'))
    .sort()
    .map((name) => {
      const lines = readFileSync(new URL(name, folder), 'utf8').split('\n')
      return {
        name,
        manifests: lines.filter((line) => !line.startsWith(mark)).join('\n'),
        outcome: lines.filter((line) => line.startsWith(mark)).map((line) => line.slice(mark.length)),
      }
    })
}

const node = `---
apiVersion: v1
kind: Node
metadata: {name: node-a, labels: {kubernetes.io/os: linux, rack: a}}
spec: {podCIDRs: [10.244.1.0/24, "fd00:10::/64"]}
status: {addresses: [{type: InternalIP, address: 192.168.1.10}, {type: InternalIP, address: "2001:db8:1::10"}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: default}
`

/** Each Service has a ready endpoint of either family on the node, whatever its ports are called. */
function endpointsFor(manifests: string): string {
  return readDocuments('example.yaml', manifests)
    .flatMap(({ objects }) => objects)
    .filter(({ key }) => key.kind === 'Service')
    .map(({ key: { name }, object }) => {
      const { ports } = object['spec'] as { readonly ports: readonly { readonly name?: string; protocol?: string }[] }
      const [{ name: port = '', protocol = 'TCP' } = {}] = ports
      const own = `ports: [{${port === '' ? '' : `name: ${port}, `}port: 8080, protocol: ${protocol}}]`
      return [slice(name), slice6(name)].join('').replaceAll(/ports: .*/g, own)
    })
    .join('')
}

/** Sessions, what they hear, addresses, and what is said of objects, one per line. */
export function outcomeOf({ manifests }: Pick<Example, 'manifests'>): readonly string[] {
  const translator = translatorWith(node + manifests + endpointsFor(manifests))
  const delta = translator.flush()
  return [
    ...(delta.speaker?.neighbors ?? []).map(sessionLine),
    ...[...delta.services].flatMap(([key, service]) =>
      service === undefined ? [] : [`address ${key} ${service.addresses.join(' ') || '-'}`],
    ),
    ...routesOf(delta).flatMap(routeLines).sort(),
    ...(delta.problems ?? [])
      .map(({ severity, code, object: { kind, name }, field }) => `${severity} ${code} ${kind}/${name} ${field}`.trim())
      .sort(),
  ]
}

function sessionLine(neighbor: Neighbor): string {
  const { localAsn, peerAsn, peerAddress, peerPort, routerId, holdTimeSec, keepaliveSec, connectRetrySec } = neighbor
  const { multihopTtl, gracefulRestart, sourceAddress, listenPort, password, localAs, families } = neighbor
  const said = [
    `AS ${localAsn}${localAs === undefined ? '' : ` as ${localAs}`} to ${peerAsn}`,
    `router ${routerId}`,
    `timers ${holdTimeSec}/${keepaliveSec}/${connectRetrySec}`,
    families.map((family) => family.slice(0, 4)).join('+'),
    ...(multihopTtl === 1 ? [] : [`TTL ${multihopTtl}`]),
    ...(gracefulRestart === undefined ? [] : [`restart ${gracefulRestart.restartTimeSec}`]),
    ...(sourceAddress === undefined ? [] : [`from ${sourceAddress}`]),
    ...(listenPort === undefined ? [] : [`awaited at ${listenPort}`]),
    ...(password === undefined ? [] : ['with a key']),
  ]
  return `session ${peerAddress} port ${peerPort}: ${said.join(', ')}`
}

function routesOf({ services, podCidrs = [] }: DesiredDelta): readonly Route[] {
  return [...podCidrs, ...services.values()].flatMap((each) => each?.routes ?? [])
}

function routeLines({ prefix, neighbors, attributes }: Route): readonly string[] {
  const said = Object.entries(attributes)
    .filter(([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0))
    .map(([name, value]) => `${name} ${Array.isArray(value) ? value.map(plain).join(' ') : plain(value)}`)
  return neighbors.map((id) => [`route ${prefix} to ${id.slice(id.indexOf('/') + 1)}`, ...said].join(', '))
}

function plain(value: unknown): string {
  if (typeof value === 'object') return JSON.stringify(value)
  return typeof value === 'number' && value > 0xffff ? `${value >>> 16}:${value & 0xffff}` : String(value)
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  for (const example of examples()) {
    const [comment = '', ...rest] = example.manifests.split('\n')
    const lines = outcomeOf(example).map((line) => mark + line)
    writeFileSync(new URL(example.name, folder), [comment, ...lines, ...rest].join('\n'))
  }
