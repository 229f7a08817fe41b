/**
 * What `herald migrate` says: the configuration of another speaker as that one has it, and as Herald will, node by
 * node. Before is read off the objects, after is what the translation of an agent really makes of them. Pure.
 *
 *     inventory --> objects --> before: dialects/moving
 *                        `----> after: translator of each node --> compare --> report
 */
import type { Neighbor, Problem } from '../desired/model.ts'
import { advertisementViews, type HeardBy } from './dialects/moving/advertisements.ts'
import { beforeOf, idOfNeighbor, type Origins, otherSpeaker } from './dialects/moving/before.ts'
import { advertisementDifferences, sessionDifferences } from './dialects/moving/compare.ts'
import { preflightOf, unreadable } from './dialects/moving/preflight.ts'
import { poolRows } from './dialects/moving/pools.ts'
import {
  type AdvertisementRow,
  type Backend,
  bfdText,
  finding,
  type Finding,
  type FoundObject,
  type Inventory,
  type MovingFrom,
  type MovingReport,
  nameOf,
  type SessionRow,
  type SessionView,
} from './dialects/moving/report.ts'
import { planNode } from './dialects/table.ts'
import { isServed } from './kinds/table.ts'
import { serviceRows, type ServicesAnswer } from './moving-services.ts'
import { ObjectStore } from './translate/store.ts'
import { createTranslator } from './translate/translator.ts'

export interface MovingOptions {
  readonly from: MovingFrom
  /** The one node that is looked at; by default all. */
  readonly nodeName?: string
  readonly backend?: Backend
  readonly secretsNamespace: string
  readonly loadBalancerClass?: string
  /** Services without a class are left alone. */
  readonly isClassRequired?: boolean
}

/** Of a Secret that is not among what was read, so that its session can be shown. */
const standInKey = Buffer.from('not read').toString('base64')

/** The Secrets that sessions name, there or not, as `namespace/name`. */
export function secretsNamed(inventory: Inventory, options: MovingOptions): readonly string[] {
  const found = nodesOf(inventory, options).flatMap(({ name, isStandIn }) => {
    const translator = createTranslator({ ...options, nodeName: name, isStandIn, datapath: 'ebpf' })
    for (const { key, object, origin } of inventory.objects)
      if (isServed(key) && !isWorkload(key.kind)) translator.upsert(key, object, origin)
    return [...translator.secrets]
  })
  return [...new Set(found)].sort()
}

export function movingReport(inventory: Inventory, options: MovingOptions): MovingReport {
  const named = secretsNamed(inventory, options)
  const hasSecret = new Set(
    inventory.objects.filter(({ key }) => key.kind === 'Secret').map(({ key }) => `${key.namespace}/${key.name}`),
  )
  // In a whole cluster a Secret that is not there is missing; one that may not be read is not.
  const hidden = named.filter((id) => !hasSecret.has(id) && (!inventory.isWhole || isUnread(inventory, id)))
  const objects = [...inventory.objects, ...hidden.map(standIn)]
  const store = new ObjectStore()
  for (const { key, object, origin } of objects) if (isServed(key)) store.upsert(key, object, origin)
  const origins = beforeOf({ from: options.from, inventory, objects: store.objects, options })
  const nodes = nodesOf(inventory, options).map((node, index) =>
    nodeReport(node, { objects, store, options, origins, isFirst: index === 0 }),
  )
  const services = serviceRows(store.objects, nodes[0]?.services, options.from)
  const pools = poolRows(store.objects, options.from)
  return {
    from: options.from,
    ...(origins.backend === undefined ? {} : { backend: origins.backend }),
    nodes: nodes.map(({ name }) => name),
    sessions: nodes.flatMap(({ sessions }) => sessions),
    pools: pools.rows,
    advertisements: nodes.flatMap(({ advertisements }) => advertisements),
    services: services.rows,
    differences: unique([
      ...nodes.flatMap(({ differences }) => differences),
      ...pools.differences,
      ...services.differences,
    ]),
    preflight: [
      ...unreadable(inventory),
      ...hidden.map((id) => secretNotSeen(id)),
      ...preflightOf({ from: options.from, inventory, machinery: origins.machinery }),
      ...origins.preflight,
    ],
  }
}

function isUnread({ unread }: Inventory, id: string): boolean {
  return unread.some(({ what }) => what === `Secret/${id}`)
}

function standIn(id: string): FoundObject {
  const [namespace = '', name = ''] = id.split('/')
  const key = { apiVersion: 'v1', kind: 'Secret', namespace, name }
  const metadata = { namespace, name }
  const type = 'kubernetes.io/basic-auth'
  return { key, object: { apiVersion: 'v1', kind: 'Secret', metadata, type, data: { password: standInKey } } }
}

function secretNotSeen(id: string): Finding {
  return finding('SecretNotSeen', {
    object: `Secret/${id}`,
    field: '',
    reason: 'it was not read: whether its key can be used is not judged',
    remedy: 'Agents need get, list and watch of it (bgpControlPlane.secretsNamespace of the chart).',
  })
}

interface NodeName {
  readonly name: string
  /** There is no Node: what is judged is the configuration for whatever node it is for. */
  readonly isStandIn: boolean
}

function nodesOf({ objects }: Inventory, { nodeName }: MovingOptions): readonly NodeName[] {
  if (nodeName !== undefined) return [{ name: nodeName, isStandIn: false }]
  const names = objects.filter(({ key }) => key.apiVersion === 'v1' && key.kind === 'Node').map(({ key }) => key.name)
  if (names.length === 0) return [{ name: 'any', isStandIn: true }]
  return [...new Set(names)].sort().map((name) => ({ name, isStandIn: false }))
}

function isWorkload(kind: string): boolean {
  return kind === 'Service' || kind === 'EndpointSlice'
}

interface NodeInput {
  readonly objects: readonly FoundObject[]
  readonly store: ObjectStore
  readonly options: MovingOptions
  readonly origins: Origins
  /** Services are the same on every node. */
  readonly isFirst: boolean
}

interface NodeAnswer extends NodeName {
  readonly sessions: readonly SessionRow[]
  readonly advertisements: readonly AdvertisementRow[]
  readonly services: ServicesAnswer | undefined
  readonly differences: readonly Finding[]
}

interface After {
  readonly neighbors: readonly Neighbor[]
  readonly problems: readonly Problem[]
  readonly services: ServicesAnswer
}

function nodeReport(node: NodeName, input: NodeInput): NodeAnswer {
  const { store, options, origins } = input
  const own = store.objects.Node.get(node.name)?.value
  const facts = {
    name: node.name,
    labels: own?.metadata.labels ?? {},
    neighborKeys: own?.neighborKeys ?? [],
    isStandIn: node.isStandIn,
  }
  const before = origins.before(facts, own)
  const after = afterOf(node, input)
  const planned = planNode(store.objects, facts, options).plan?.neighbors ?? []
  const heard = planned.flatMap(({ advertisements, peerAddress: peer, overrides }) =>
    advertisementViews(advertisements, { peer, overrides: overrides[0] ?? {} }),
  )
  const found = sessionRows(node, before.sessions, after)
  const advertisements = advertisementRows(node, before.heard, heard)
  return {
    ...node,
    sessions: found.rows,
    advertisements,
    services: input.isFirst ? after.services : undefined,
    differences: [
      ...found.differences,
      ...advertisements.flatMap((row) => advertisementDifferences(row, origins.backend)),
      ...after.problems.filter((problem) => !isElsewhere(problem)).map((problem) => findingOf(problem, node)),
    ],
  }
}

/** Of what only the node itself knows. */
const elsewhere: ReadonlySet<Problem['code']> = new Set(['NoGateway', 'NotOwnAddress', 'NoNode'])
const isElsewhere = ({ code, object }: Problem): boolean => elsewhere.has(code) || object.kind === 'Node'

function findingOf({ severity, object, field, code, message, remedy }: Problem, { name }: NodeName): Finding {
  const needsDecision = severity === 'error' || code === 'ReservedAddresses'
  return { code, needsDecision, object: nameOf(object), node: name, field, reason: message, remedy }
}

function afterOf({ name, isStandIn }: NodeName, { objects, options, isFirst }: NodeInput): After {
  const translator = createTranslator({ ...options, nodeName: name, isStandIn, datapath: 'none' })
  for (const { key, object, origin } of objects) {
    const isOther = key.kind === 'Node' && key.name !== name
    if (isServed(key) && (isFirst || !(isOther || isWorkload(key.kind)))) translator.upsert(key, object, origin)
  }
  translator.synced()
  const services = new Map<string, NonNullable<ReturnType<ServicesAnswer['get']>>>()
  let { speaker, problems = [], services: delta } = translator.flush()
  for (;;) {
    for (const [key, service] of delta) if (service !== undefined) services.set(key, service)
    if (!translator.hasMore) break
    const next = translator.flush()
    delta = next.services
    problems = next.problems ?? problems
    speaker = next.speaker ?? speaker
  }
  return { neighbors: speaker?.neighbors ?? [], problems, services }
}

function sessionRows(
  { name: node, isStandIn }: NodeName,
  before: ReturnType<Origins['before']>['sessions'],
  { neighbors, problems }: After,
): { readonly rows: readonly SessionRow[]; readonly differences: readonly Finding[] } {
  const left = new Map(neighbors.map((neighbor) => [idOfNeighbor(neighbor), neighbor]))
  const rows: SessionRow[] = []
  const differences: Finding[] = []
  for (const { id, object, view, absent } of before) {
    const neighbor = left.get(id)
    left.delete(id)
    if (view === undefined && neighbor === undefined) continue
    const row = {
      node,
      object,
      ...(view && { before: view }),
      ...(neighbor && { after: viewOf(neighbor, view, isStandIn) }),
    }
    const problem = problems.find((each) => each.severity === 'error' && nameOf(each.object) === object)
    rows.push(row)
    differences.push(
      ...sessionDifferences(row, {
        ...(absent && { before: absent }),
        ...(problem && { after: { reason: problem.message, remedy: problem.remedy } }),
      }),
    )
  }
  for (const neighbor of left.values()) {
    const row = { node, object: nameOf(neighbor.source), after: viewOf(neighbor, undefined, isStandIn) }
    rows.push(row)
    differences.push(...sessionDifferences(row, { before: otherSpeaker }))
  }
  return { rows, differences }
}

/**
 * Whose key it is has no place in a neighbor: it is that of before, or unnamed. Without a Node nobody knows the router
 * ID that would be made of it.
 */
function viewOf(neighbor: Neighbor, before: SessionView | undefined, isStandIn: boolean): SessionView {
  const { peerAsn, refusesOwnAs, gracefulRestart, password } = neighbor
  return {
    peerAddress: neighbor.peerAddress,
    peerPort: neighbor.peerPort,
    localAs: neighbor.localAs ?? neighbor.localAsn,
    peerAs: refusesOwnAs === true ? 'external' : peerAsn === 0 ? 'any' : String(peerAsn),
    ...(neighbor.sourceAddress === undefined ? {} : { sourceAddress: neighbor.sourceAddress }),
    holdTimeSeconds: neighbor.holdTimeSec,
    keepaliveSeconds: neighbor.keepaliveSec,
    connectRetrySeconds: neighbor.connectRetrySec,
    ttl: neighbor.multihopTtl,
    ...(gracefulRestart === undefined ? {} : { gracefulRestartSeconds: gracefulRestart.restartTimeSec }),
    ...(password === undefined ? {} : { password: before?.password ?? 'set' }),
    families: neighbor.families.map((family) => family.slice(0, 4)),
    ...(isStandIn && before?.routerId === undefined ? {} : { routerId: neighbor.routerId }),
    ...(neighbor.interface === undefined ? {} : { interface: neighbor.interface }),
    ...(neighbor.bfd === undefined ? {} : { bfd: bfdText(neighbor.bfd) }),
  }
}

function advertisementRows(
  { name: node }: NodeName,
  before: readonly HeardBy[],
  after: readonly HeardBy[],
): readonly AdvertisementRow[] {
  const rows = new Map<string, AdvertisementRow>()
  for (const [side, all] of [['before', before] as const, ['after', after] as const]) {
    const counts = new Map<string, number>()
    for (const { peer, object, family, view } of all) {
      const place = `${peer} ${object} ${family} ${view.type} ${view.services}`
      // One object may say the same of a peer twice.
      const count = counts.get(place) ?? 0
      counts.set(place, count + 1)
      const key = `${place} ${count}`
      rows.set(key, { node, object, peer, family, ...rows.get(key), [side]: view })
    }
  }
  return [...rows.values()]
}

/** What is said of every node alike is said once. */
function unique(all: readonly Finding[]): readonly Finding[] {
  const found = new Map<string, Finding>()
  const counts = new Map<string, number>()
  const keyOf = ({ node: _node, ...rest }: Finding): string => JSON.stringify(rest)
  for (const each of all) {
    const key = keyOf(each)
    counts.set(key, (counts.get(key) ?? 0) + 1)
    if (!found.has(key)) found.set(key, each)
  }
  return [...found].map(([key, each]) => {
    const count = counts.get(key) ?? 1
    return count === 1 || each.node === undefined ? each : { ...each, node: `${each.node} and ${count - 1} more` }
  })
}
