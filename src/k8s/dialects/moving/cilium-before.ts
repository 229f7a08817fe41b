/**
 * The sessions and advertisements of Cilium's objects as Cilium itself has them. Pure.
 *
 *     a CiliumBGPPeeringPolicy selects the node --> it alone; two of them --> no session at all
 *     else a CiliumBGPClusterConfig ------------> the oldest of them
 */
import { selectorMatches } from '../../../desired/label-selector.ts'
import type { Node } from '../../kinds/node.ts'
import type { Stored, StoredObjects } from '../../kinds/table.ts'
import { ciliumV1 } from '../cilium-v1.ts'
import { ciliumV2 } from '../cilium-v2.ts'
import type { NodeFacts, NodePlan, PlanNeighbor } from '../node-plan.ts'
import { advertisementViews } from './advertisements.ts'
import type { BeforeNode, BeforeSession } from './metallb-before.ts'
import { nameOf, type SessionView } from './report.ts'

interface NodeInput {
  readonly objects: StoredObjects
  readonly facts: NodeFacts
  readonly node: Node | undefined
  readonly secretsNamespace: string
}

type Absent = NonNullable<BeforeSession['absent']>

export function ciliumBefore(input: NodeInput): BeforeNode {
  const objects = withoutOurs(input.objects)
  const facts = { ...input.facts, neighborKeys: [] }
  const options = { secretsNamespace: input.secretsNamespace }
  const policies = ciliumV1.plan(objects, facts, options).plan
  const clusters = ciliumV2.plan(objects, facts, options).plan
  const why = policyAbsence(objects, facts)
  const isPolicyFirst = policies !== undefined && why?.isSelected !== false
  const second: Absent | undefined = isPolicyFirst
    ? {
        reason: 'a CiliumBGPPeeringPolicy selects the node, and then Cilium looks at no CiliumBGPClusterConfig',
        remedy: 'Delete the one of the two that is not wanted.',
      }
    : undefined
  const made = [
    ...(policies?.neighbors ?? []).map((neighbor) => sessionOf(neighbor, input, why?.absent)),
    ...(clusters?.neighbors ?? []).map((neighbor) => sessionOf(neighbor, input, second)),
  ]
  const there = new Set(made.filter(({ view }) => view !== undefined).map(({ id }) => id))
  return { sessions: made, heard: [policies, clusters].flatMap((plan) => heardOf(plan, there)) }
}

function heardOf(plan: NodePlan | undefined, there: ReadonlySet<string>): BeforeNode['heard'] {
  return (plan?.neighbors ?? [])
    .filter((neighbor) => there.has(idOf(neighbor)))
    .flatMap(({ peerAddress: peer, advertisements }) => advertisementViews(advertisements, { peer, overrides: {} }))
}

/** Annotations of ours mean nothing to Cilium. */
function withoutOurs(objects: StoredObjects): StoredObjects {
  const bare = <K extends 'CiliumBGPPeeringPolicy' | 'CiliumBGPClusterConfig'>(
    table: ReadonlyMap<string, Stored<K>>,
  ): ReadonlyMap<string, Stored<K>> =>
    new Map([...table].map(([id, stored]) => [id, { ...stored, value: { ...stored.value, neighborKeys: [] } }]))
  return {
    ...objects,
    CiliumBGPPeeringPolicy: bare(objects.CiliumBGPPeeringPolicy),
    CiliumBGPClusterConfig: bare(objects.CiliumBGPClusterConfig),
  }
}

/** Why policies give no session, and whether Cilium would say that one selects the node. */
function policyAbsence(
  { CiliumBGPPeeringPolicy: policies }: StoredObjects,
  { isStandIn, labels }: NodeFacts,
): { readonly isSelected: boolean; readonly absent: Absent } | undefined {
  // Without a selector a policy selects no node there, and every node here.
  const selecting = [...policies.values()].filter(
    ({ value: { nodeSelector } }) => nodeSelector !== undefined && (isStandIn || selectorMatches(nodeSelector, labels)),
  )
  if (selecting.length === 1) return undefined
  if (selecting.length === 0)
    return {
      isSelected: false,
      absent: {
        reason: 'the policy has no nodeSelector, by which Cilium takes it for no node and Herald for every node',
        remedy: 'Write nodeSelector: {} if every node is meant, or labels that no node has.',
      },
    }
  const names = selecting.map(({ key }) => key.name).sort()
  return {
    isSelected: true,
    absent: {
      reason: `policies ${names.join(' and ')} select the node: Cilium ends every session, and here the oldest counts`,
      remedy: 'Let their node selectors exclude each other.',
    },
  }
}

const idOf = ({ from, virtualRouter, peerAddress }: PlanNeighbor): string =>
  `${nameOf(from.key)} ${virtualRouter} ${peerAddress}`

function sessionOf(neighbor: PlanNeighbor, input: NodeInput, absent: Absent | undefined): BeforeSession {
  const why = absent ?? routerAbsence(neighbor, input)
  const own = { id: idOf(neighbor), object: nameOf(neighbor.from.key) }
  return why === undefined ? { ...own, view: viewOf(neighbor, input) } : { ...own, absent: why }
}

function routerAbsence(neighbor: PlanNeighbor, { node, facts }: NodeInput): Absent | undefined {
  if (facts.isStandIn || routerIdOf(neighbor, node) !== undefined) return undefined
  const annotation = `cilium.io/bgp-virtual-router.${neighbor.localAsn}`
  return {
    reason: `the node has no IPv4 InternalIP and no router-id in ${annotation}, without which Cilium has no session`,
    remedy: `Write ${annotation}: "router-id=192.0.2.1" on the Node; Herald derives one meanwhile.`,
  }
}

function routerIdOf({ routerId, localAsn }: PlanNeighbor, node: Node | undefined): string | undefined {
  return (
    routerId ??
    node?.routers.find(({ asn }) => asn === localAsn)?.routerId ??
    node?.addresses.find(({ type, address }) => type === 'InternalIP' && !address.includes(':'))?.address
  )
}

function viewOf(neighbor: PlanNeighbor, { node, objects }: NodeInput): SessionView {
  const { secret, gracefulRestart, overrides } = neighbor
  const [{ sourceAddress, interface: device } = {}] = overrides
  const routerId = routerIdOf(neighbor, node)
  // It dials without a key where the Secret is not there.
  const isKeyed = secret !== undefined && objects.Secret.has(secret.id)
  return {
    peerAddress: neighbor.peerAddress,
    peerPort: neighbor.peerPort,
    localAs: neighbor.localAsn,
    peerAs: neighbor.peerAsn === 0 ? 'any' : String(neighbor.peerAsn),
    ...(sourceAddress === undefined ? {} : { sourceAddress }),
    holdTimeSeconds: neighbor.holdTimeSec,
    keepaliveSeconds: neighbor.keepaliveSec,
    connectRetrySeconds: neighbor.connectRetrySec,
    ttl: neighbor.multihopTtl,
    ...(gracefulRestart === undefined ? {} : { gracefulRestartSeconds: gracefulRestart.restartTimeSec }),
    ...(isKeyed ? { password: `Secret ${secret.id}` } : {}),
    families: neighbor.families.map((family) => family.slice(0, 4)),
    ...(routerId === undefined ? {} : { routerId }),
    ...(device === undefined ? {} : { interface: device }),
  }
}
