/**
 * How packets for a backend on another node get there: which nodes take them in a tunnel, at which addresses, and why
 * the others do not. By the Leases in which agents say so, or by the Nodes of a folder, which all of its agents read.
 *
 *     Leases, or Nodes --> judged, the oldest first --> ways to nodes, senders to take packets from, problems
 *
 * Nothing that somebody else wrote is believed at the cost of others: an address belongs to who said so first, and none
 * is taken that this node, its pods or a Service has. Pure but for its memory of what it said last.
 */
import { nodeOf } from '../dialects/nodes.ts'
import { sameValue } from '../../desired/same-value.ts'
import { type DesiredTunnels, type Problem, translatedNode } from '../../desired/model.ts'
import { type Family, isForwardable, parseAddress } from '../../ip/address.ts'
import { parsePrefix, prefixLength, prefixOf } from '../../ip/prefix.ts'
import { fault } from '../kinds/narrow.ts'
import type { Node } from '../kinds/node.ts'
import { problemOf } from '../kinds/problems.ts'
import { allowsSnat } from '../kinds/remote-backends.ts'
import { byAge, type Stored, type StoredObjects } from '../kinds/table.ts'
import { tunnelAddressesAnnotation } from '../kinds/tunnel-addresses.ts'
import { tunnelFormat, type TunnelEnd } from '../kinds/tunnel-lease.ts'
import { familyOf } from './eligible.ts'
import type { Reach, Way } from './endpoints.ts'
import type { LocalAddress, TranslatorOptions } from './types.ts'

type Ways = Readonly<Record<Family, Way>>

export interface TunnelSurroundings {
  readonly objects: StoredObjects
  /** Of a pool, and of nobody that it is known of. */
  readonly isService: (address: string) => boolean
  readonly local: readonly LocalAddress[]
}

interface Claim extends TunnelEnd {
  readonly node: string
  readonly stored: Stored<'Lease' | 'Node'>
}

const ofNode: Reach = { kind: 'node' }
/** Of a way: it is its node that takes no packets, or none of ours. */
const noneTaken = { isTakingNone: true } as const
const families: readonly Family[] = ['ipv4', 'ipv6']

export class Tunnels {
  readonly #nodeName: string
  readonly #from: TranslatorOptions['tunnels']
  readonly #whyNoSnat: string
  readonly #byTunnels: Reach = { kind: 'tunnels', wayTo: (node, family) => this.wayTo(node, family) }
  readonly #withSnat: Reach = { kind: 'tunnels', wayTo: (node, family) => this.#snatTo(node, family) }
  #ways: ReadonlyMap<string, Ways> = new Map()
  /** Of every node that is none of {@link #ways}. */
  #unknown: string
  /** It is this node that sends none. */
  #isOwnObstacle = false
  #problems: readonly Problem[] = []
  #ends: DesiredTunnels = { own: [], isTold: false, senders: [] }

  constructor({ nodeName, tunnels, whyNoSnat = '' }: Pick<TranslatorOptions, 'nodeName' | 'tunnels' | 'whyNoSnat'>) {
    this.#nodeName = nodeName
    this.#from = tunnels
    this.#whyNoSnat = whyNoSnat
    this.#unknown = 'backends on other nodes are not served'
  }

  get problems(): readonly Problem[] {
    return this.#problems
  }

  get ends(): DesiredTunnels {
    return this.#ends
  }

  /** Backends on other nodes are served at all. */
  get areThere(): boolean {
    return this.#from !== undefined
  }

  /** Which backends of a Service this node serves, and how. */
  reachOf(service: Parameters<typeof allowsSnat>[0] | undefined): Reach {
    if (!this.areThere) return ofNode
    return service !== undefined && allowsSnat(service) ? this.#withSnat : this.#byTunnels
  }

  wayTo(node: string, family: Family): Way {
    if (node === '') return { why: 'no slice says on which node' }
    return this.#ways.get(node)?.[family] ?? { why: this.#unknown, ...(this.#isOwnObstacle ? {} : noneTaken) }
  }

  /** The same where pods may see this node in place of the client. */
  #snatTo(node: string, family: Family): Way {
    const way = this.wayTo(node, family)
    if ('address' in way || way.isTakingNone !== true) return way
    if (this.#whyNoSnat !== '') return { why: `${way.why}, and no SNAT: ${this.#whyNoSnat}` }
    const isOwn = this.#ends.own.some((address) => familyOf(address) === family)
    return isOwn ? { address: translatedNode, why: way.why } : way
  }

  /** Judges anew; answers the nodes to which the way is another now, or `all`. */
  look(around: TunnelSurroundings): ReadonlySet<string> | 'all' {
    if (this.#from === undefined) return new Set()
    const own = endOf(around.objects.Node.get(this.#nodeName)?.value)
    const { claims, isTold } = this.#from === 'nodes' ? this.#nodes(around) : this.#leases(around, own)
    const judged = judge(claims, around, this.#nodeName)
    this.#problems = [...this.#strangers(around, own), ...judged.problems]
    const senders = claims.flatMap(({ node }) => judged.addresses.get(node) ?? []).sort()
    const ends: DesiredTunnels = { own, isTold, senders }
    if (!sameValue(ends, this.#ends)) this.#ends = ends
    const obstacle = isTold && own.length > 0 ? undefined : ownObstacle(this.#nodeName, own)
    this.#isOwnObstacle = obstacle !== undefined
    const unknown =
      obstacle ?? (this.#from === 'nodes' ? 'there is no such Node' : 'no agent there has said that it takes them')
    const ways = new Map(
      claims.map((claim) => [claim.node, waysOf(claim, judged.addresses.get(claim.node) ?? [], own, obstacle)]),
    )
    return this.#differing(ways, unknown)
  }

  /**
   * What somebody wrote for this node, and no interface has: the others would send packets to nobody, or somebody else.
   */
  #strangers({ objects, local }: TunnelSurroundings, own: readonly string[]): readonly Problem[] {
    const stored = objects.Node.get(this.#nodeName)
    if (stored?.value.tunnelAddresses === undefined || local.length === 0) return []
    const known = new Set(local.map(({ address }) => address))
    return own
      .filter((address) => !known.has(address))
      .map((address) => {
        const message = `other nodes are to send packets for backends to ${address}, which is no address of this node`
        const remedy = 'Write an address that an interface of the node has, or take the annotation away.'
        const path = ['metadata', 'annotations', tunnelAddressesAnnotation]
        return problemOf(fault('warning', path, 'NotOwnAddress', message, remedy), stored.key, stored.origin)
      })
  }

  #differing(ways: ReadonlyMap<string, Ways>, unknown: string): ReadonlySet<string> | 'all' {
    const before = this.#ways
    const isOther = unknown !== this.#unknown
    this.#ways = ways
    this.#unknown = unknown
    if (isOther) return 'all'
    const all = new Set([...before.keys(), ...ways.keys()])
    return new Set([...all].filter((node) => !sameValue(before.get(node), ways.get(node))))
  }

  #nodes({ objects }: TunnelSurroundings): { readonly claims: readonly Claim[]; readonly isTold: boolean } {
    const others = [...objects.Node].filter(([name]) => name !== this.#nodeName).sort(([, a], [, b]) => byAge(a, b))
    const claims = others.map(
      ([node, stored]): Claim => ({ node, stored, addresses: endOf(stored.value), formats: [tunnelFormat] }),
    )
    return { claims, isTold: true }
  }

  #leases(
    { objects }: TunnelSurroundings,
    own: readonly string[],
  ): { readonly claims: readonly Claim[]; readonly isTold: boolean } {
    const all = [...objects.Lease.values()].filter(({ value }) => value.node !== '').sort(byAge)
    const claims = all.map((stored): Claim => ({ node: stored.value.node, stored, ...stored.value.end }))
    const told = claims.find(({ node }) => node === this.#nodeName)
    const isTold =
      own.length === 0
        ? (told?.addresses.length ?? 0) === 0
        : told !== undefined && sameValue([told.addresses, told.formats], [own, [tunnelFormat]])
    return { claims: claims.filter(({ node }) => node !== this.#nodeName), isTold }
  }
}

/** Where a node takes packets: as its annotation says, else its first InternalIP of each family. */
function endOf(node: Node | undefined): readonly string[] {
  if (node === undefined) return []
  if (node.tunnelAddresses !== undefined) return node.tunnelAddresses
  const internal = node.addresses.filter(({ type, address }) => {
    const parsed = parseAddress(address)
    return type === 'InternalIP' && parsed !== undefined && isForwardable(parsed)
  })
  return families.flatMap((family) => internal.find(({ address }) => familyOf(address) === family)?.address ?? [])
}

function ownObstacle(nodeName: string, own: readonly string[]): string {
  return own.length === 0
    ? `${nodeName} has no address at which it takes packets itself`
    : `the others have yet to hear at which address ${nodeName} takes packets`
}

interface Judged {
  readonly addresses: ReadonlyMap<string, readonly string[]>
  readonly problems: readonly Problem[]
}

function judge(claims: readonly Claim[], around: TunnelSurroundings, nodeName: string): Judged {
  const owners = new Map<string, string>()
  for (const { address } of around.local) owners.set(address, nodeName)
  const own = nodeOf(around.objects, nodeName)
  for (const { address } of own?.addresses ?? []) owners.set(address, nodeName)
  const podCidrs = own?.podCidrs ?? []
  const addresses = new Map<string, readonly string[]>()
  const problems: Problem[] = []
  for (const { node, addresses: claimed, stored } of claims) {
    const taken: string[] = []
    for (const address of claimed) {
      const owner = owners.get(address)
      const why =
        owner !== undefined
          ? `is of node ${owner}`
          : podCidrs.some((prefix) => isInside(address, prefix))
            ? `is of pods on node ${nodeName}`
            : around.isService(address)
              ? 'is in a pool, for Services'
              : undefined
      if (why === undefined) {
        owners.set(address, node)
        taken.push(address)
        continue
      }
      const message = `node ${node} says that it takes packets at ${address}, which ${why}: none are sent there`
      const remedy = 'Give the node an address of its own: its InternalIP, or herald.dev/tunnel-addresses of its Node.'
      problems.push(problemOf(fault('warning', [], 'TunnelRefused', message, remedy), stored.key, stored.origin))
    }
    addresses.set(node, taken)
  }
  return { addresses, problems }
}

function isInside(address: string, prefix: string): boolean {
  const [parsed, range] = [parseAddress(address), parsePrefix(prefix)]
  if (parsed === undefined || range === undefined || typeof parsed !== typeof range) return false
  return prefixOf(parsed, prefixLength(range)) === range
}

function waysOf(
  { addresses: claimed, formats }: Claim,
  addresses: readonly string[],
  own: readonly string[],
  obstacle: string | undefined,
): Ways {
  const way = (family: Family): Way => {
    if (obstacle !== undefined) return { why: obstacle }
    if (claimed.length === 0) return { why: 'it takes none', ...noneTaken }
    if (addresses.length === 0) return { why: 'its address is refused' }
    if (!formats.includes(tunnelFormat)) {
      const why = `it takes packets of format ${formats.join(', ') || 'none'}, and this node sends ${tunnelFormat}`
      return { why, ...noneTaken }
    }
    const has = (all: readonly string[]): string | undefined => all.find((each) => familyOf(each) === family)
    const address = has(own) === undefined ? undefined : has(addresses)
    return address === undefined
      ? { why: `${family === 'ipv4' ? 'IPv4' : 'IPv6'} is not spoken by both nodes`, ...noneTaken }
      : { address }
  }
  return { ipv4: way('ipv4'), ipv6: way('ipv6') }
}
