/**
 * What the configuration asks of this node, judged with what is in force: sessions, PodCIDRs, and what is said about
 * the node, the policies and the keys. Pure but for its memory of the neighbors in force.
 */
import type { ProblemCode } from '../../desired/codes.ts'
import type { Neighbor, Problem } from '../../desired/model.ts'
import { goneProblems, nodeOf, noPodCidrs } from '../dialects/nodes.ts'
import type { DialectAnswer, NodePlan } from '../dialects/node-plan.ts'
import { planPools } from '../dialects/pools.ts'
import { planKinds, planNode } from '../dialects/table.ts'
import { fault, type Fault } from '../kinds/narrow.ts'
import { nearest } from '../kinds/nearest.ts'
import { unmetEntries } from '../kinds/neighbor-annotation.ts'
import { problemOf } from '../kinds/problems.ts'
import type { ServedKind, StoredObjects } from '../kinds/table.ts'
import type { ObjectKey } from '../source.ts'
import {
  exportsOf,
  type NodeExports,
  type NodeView,
  type NoPassword,
  type PasswordOf,
  type RouterView,
} from './exports.ts'
import { KnownNetwork } from './known-network.ts'
import { nodeObstacle, type NodeObstacle } from './node-fitness.ts'
import { preferenceConflicts } from './preference-conflicts.ts'
import { routerIdOf } from './router-id.ts'
import type { TranslatorOptions } from './types.ts'

export interface NodeAnswer {
  /** undefined: nothing applies to this node, for the reason given. */
  readonly exports: NodeExports | undefined
  readonly noExports: DialectAnswer['noPlan']
  readonly isDraining: boolean
  /** Why no Service is announced from here, whatever the configuration says. */
  readonly obstacle: NodeObstacle | undefined
  readonly problems: readonly Problem[]
}

export class NodeTranslation {
  readonly #options: TranslatorOptions
  #inForce: ReadonlyMap<string, readonly Neighbor[]> = new Map()
  #secrets: ReadonlySet<string> = new Set()
  #needed: ReadonlySet<string> = new Set()
  #meant: NodePlan['meant'] = new Map()
  #unread: readonly string[] = []
  readonly #network: KnownNetwork
  usesNetwork = false

  constructor(options: TranslatorOptions) {
    this.#options = options
    this.#network = new KnownNetwork(options)
  }

  /** Looks at the interfaces; true when what is planned may be otherwise now. */
  hasNetworkMoved(): boolean {
    return this.usesNetwork && this.#network.look()
  }

  /** The Secrets that neighbors name, there or not. */
  get secrets(): ReadonlySet<string> {
    return this.#secrets
  }

  /** Whether the plan in force names an object, so that it stays in force when it is deleted. */
  needs(kind: ServedKind, id: string): boolean {
    return this.#needed.has(`${kind} ${id}`)
  }

  /** The same, before anything was translated. */
  secretsOf(objects: StoredObjects): ReadonlySet<string> {
    this.#plan(objects)
    return this.#secrets
  }

  #plan(objects: StoredObjects): DialectAnswer {
    const { nodeName, secretsNamespace, isStandIn = false } = this.#options
    const node = objects.Node.get(nodeName)?.value
    const facts = {
      name: nodeName,
      labels: node?.metadata.labels ?? {},
      neighborKeys: node?.neighborKeys ?? [],
      isStandIn,
      network: this.#network.seen,
      meant: this.#meant ?? new Map(),
      unread: this.#unread,
    }
    let answer = planNode(objects, facts, { secretsNamespace })
    this.usesNetwork = answer.plan?.usesNetwork === true
    if (this.hasNetworkMoved())
      answer = planNode(objects, { ...facts, network: this.#network.seen }, { secretsNamespace })
    if (this.#options.isElsewhere === true) answer = seenFromAfar(answer)
    this.#secrets = new Set(answer.plan?.neighbors.flatMap(({ secret }) => secret?.id ?? []) ?? [])
    this.#needed = new Set(answer.plan?.needed?.map(({ kind, id }) => `${kind} ${id}`) ?? [])
    return answer
  }

  /**
   * `isNodeBroken`: there is a Node, and something is wrong with its last version. `unread`: configuration of which no
   * version was ever understood.
   */
  translate(objects: StoredObjects, isNodeBroken = false, unread: readonly string[] = []): NodeAnswer {
    this.#unread = unread
    const { nodeName, isStandIn = false } = this.#options
    const stored = objects.Node.get(nodeName)
    const node = stored?.value
    const problems: Problem[] = []
    if (!isStandIn) problems.push(...nodeProblems(objects, nodeName, isNodeBroken))
    const { plan, noPlan, problems: planProblems } = this.#plan(objects)
    this.#meant = plan?.meant
    problems.push(...planProblems)
    problems.push(...this.#keyProblems(objects, plan === undefined))
    const isDraining = node?.isDraining ?? false
    const obstacle = nodeObstacle(node, this.#options)
    if (plan === undefined) {
      this.#inForce = new Map()
      return { exports: undefined, noExports: noPlan, isDraining, obstacle, problems }
    }
    const addresses = new Set(plan.neighbors.map(({ peerAddress }) => peerAddress))
    const unmet = unmetEntries(node?.neighborKeys ?? [], addresses, 'this node')
    problems.push(...unmet.map((each) => problemOf(each, nodeKey(nodeName), stored?.origin)))
    const routers = new Map<number, RouterView>()
    for (const { localAsn } of plan.neighbors) {
      if (routers.has(localAsn)) continue
      const { routerId, faults } = routerIdOf(nodeName, node, localAsn)
      const listenPort = node?.routers.find(({ asn }) => asn === localAsn)?.listenPort
      routers.set(localAsn, { routerId, ...(listenPort === undefined ? {} : { listenPort }) })
      const isTaken = plan.neighbors.some((each) => each.localAsn === localAsn && each.routerId === undefined)
      if (!isStandIn && isTaken)
        problems.push(...faults.map((each) => problemOf(each, nodeKey(nodeName), stored?.origin)))
    }
    const passwordOf: PasswordOf = (secret) => (this.#options.isElsewhere === true ? '' : passwordIn(objects, secret))
    const exports = exportsOf(plan, this.#view(objects, routers), passwordOf, this.#inForce)
    this.#inForce = exports.inForce
    if (exports.podCidrs.length > 0) problems.push(...goneProblems(objects, nodeName))
    problems.push(
      ...preferenceConflicts(
        plan,
        planPools(objects).map(({ pool }) => pool),
      ),
    )
    return { exports, noExports: noPlan, isDraining, obstacle, problems: [...problems, ...exports.problems] }
  }

  #view(objects: StoredObjects, routers: ReadonlyMap<number, RouterView>): NodeView {
    const { nodeName, isStandIn = false, localAddresses = () => [] } = this.#options
    const { addresses = [], podCidrs = [] } = nodeOf(objects, nodeName) ?? {}
    return {
      name: nodeName,
      podCidrs,
      noPodCidrs: noPodCidrs(objects, nodeName),
      addresses,
      isOwn: (address) =>
        addresses.some((each) => each.address === address) || localAddresses().some((each) => each.address === address),
      isStandIn,
      routerOf: (asn) => routers.get(asn) ?? { routerId: '' },
    }
  }

  /** Of the keys that neighbors name; where there is no plan that could, of every Secret with a key. */
  #keyProblems({ Secret: secrets }: StoredObjects, isPlanless: boolean): Problem[] {
    const { secretsNamespace, isStandIn = false } = this.#options
    const named = [...secrets].filter(([id, { value }]) =>
      isStandIn && isPlanless ? id.startsWith(`${secretsNamespace}/`) && value.hasKey : this.#secrets.has(id),
    )
    return named.flatMap(([id, { key, origin, value, isGone }]) => {
      if (isGone !== true) return value.keyFaults.map((each) => problemOf(each, key, origin))
      const remedy = 'Write the Secret again, or name none in the neighbor.'
      const message = `Secret ${id} is deleted, and a neighbor names it: its last key stays in force`
      return value.key === undefined
        ? []
        : [problemOf(fault('warning', [], 'SecretGone', message, remedy), key, undefined)]
    })
  }
}

/** Said by the node itself, which alone knows its default routes. */
const ownKnowledge: readonly ProblemCode[] = ['NoGateway']

/** Without what only the node itself can say. */
function seenFromAfar({ plan, noPlan, problems }: DialectAnswer): DialectAnswer {
  const said = problems.filter(({ code }) => !ownKnowledge.includes(code))
  if (plan === undefined) return { plan, noPlan, problems: said }
  const neighbors = plan.neighbors.map(({ obstacle: _obstacle, ...neighbor }) => neighbor)
  return { plan: { ...plan, neighbors }, noPlan, problems: said }
}

type SecretName = Parameters<PasswordOf>[0]

const nodeKey = (name: string): ObjectKey => ({ apiVersion: 'v1', kind: 'Node', namespace: '', name })

/** Without its Node a node knows no labels, no PodCIDR and no address. */
function nodeProblems(objects: StoredObjects, nodeName: string, isBroken: boolean): Problem[] {
  const stored = objects.Node.get(nodeName)
  const say = (message: string, remedy: string): Problem[] => {
    const found: Fault = fault('error', [], 'NoNode', message, remedy)
    return [problemOf(found, nodeKey(nodeName), undefined)]
  }
  if (stored?.isGone === true)
    return say(`Node ${nodeName} is deleted: what it said last stays in force`, 'Write the Node again.')
  const isConfigured = objects.Node.size > 0 || [...planKinds].some((kind) => objects[kind].size > 0)
  if (stored !== undefined || !isConfigured) return []
  const outcome = 'only policies that select every node apply, and no PodCIDR is known'
  if (isBroken) return say(`Node ${nodeName} is not understood: ${outcome}`, 'Correct the Node.')
  const names = [...objects.Node.keys()]
  const near = nearest(nodeName, names)
  const others = names.length === 0 ? '' : `; there is ${names.slice(0, 3).join(', ')}`
  return say(
    `there is no Node ${nodeName}: ${outcome}`,
    near === undefined
      ? `Add the Node, or give its name with --node-name${others}.`
      : `Did you mean --node-name ${near}? Else add the Node.`,
  )
}

function passwordIn({ Secret: secrets }: StoredObjects, { id, type }: SecretName): string | NoPassword {
  const found = secrets.get(id)?.value
  if (found !== undefined && type !== undefined && found.type !== type)
    return { reason: `Secret ${id} is of type ${found.type}`, remedy: `Write type: ${type} into Secret ${id}.` }
  const key = found?.key
  if (key !== undefined) return key
  const [namespace, name] = id.split('/')
  const kind = type === undefined ? '' : `, of type ${type}`
  return secrets.has(id)
    ? { reason: `Secret ${id} has no key that can be used`, remedy: `Correct Secret ${id}.` }
    : {
        reason: `there is no Secret ${id}`,
        remedy: `Create Secret ${name} in namespace ${namespace}${kind}, with the field password.`,
      }
}
