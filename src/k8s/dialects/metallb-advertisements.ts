/** BGPAdvertisements with what they name: pools, peers and communities of their namespace. Pure. */
import type { LabelSelector } from '../../desired/label-selector.ts'
import { selectorMatches } from '../../desired/label-selector.ts'
import type { AddressFamilyName, Problem, RouteAttributes } from '../../desired/model.ts'
import { widestPrefixLength } from '../../allocation/intervals.ts'
import { annotatedAttributes } from '../kinds/attributes-annotation.ts'
import { rangeOfBlock } from '../kinds/address-blocks.ts'
import { duplicateAlias } from '../kinds/community.ts'
import { blockOf } from '../kinds/ip-address-pool.ts'
import {
  formatMetallbCommunity,
  isCommunityFault,
  parseMetallbCommunity,
  type WrittenCommunity,
} from '../kinds/metallb-communities.ts'
import { fault, type Fault } from '../kinds/narrow.ts'
import { nearest } from '../kinds/nearest.ts'
import { problemOf } from '../kinds/problems.ts'
import { byAge, type Stored, type StoredObjects } from '../kinds/table.ts'
import { type ListPlace, NameMemory } from './name-memory.ts'
import { type Advertisement, type Meanings, type NodeFacts, type NodePlan, selectsNode } from './node-plan.ts'

export interface NamedAdvertisement {
  readonly namespace: string
  /** undefined: every peer of the namespace. */
  readonly peers: ReadonlySet<string> | undefined
  readonly byFamily: Readonly<Record<AddressFamilyName, readonly Advertisement[]>>
}

type Written = Stored<'BGPAdvertisement'>
type Pool = Stored<'IPAddressPool'>

/** What a name of a community stands for, and the object that says so. */
interface Alias {
  readonly value: WrittenCommunity
  readonly from: Stored<'Community'>
}

/** By namespace and name. */
type Aliases = ReadonlyMap<string, ReadonlyMap<string, Alias>>

const everyService: LabelSelector = {}

/** Objects of a kind in one namespace, gathered once for all advertisements. */
interface Named<T extends Stored> {
  readonly all: readonly T[]
  readonly names: readonly string[]
  readonly byName: ReadonlyMap<string, T>
}

interface Surroundings {
  readonly peers: (namespace: string) => Named<Stored<'BGPPeer'>>
  readonly pools: (namespace: string) => Named<Pool>
}

function namedIn<T extends Stored>(objects: Iterable<T>): (namespace: string) => Named<T> {
  const namespaces = Map.groupBy(objects, ({ key }) => key.namespace)
  const known = new Map<string, Named<T>>()
  return (namespace) => {
    const found = known.get(namespace)
    if (found !== undefined) return found
    const all = namespaces.get(namespace) ?? []
    const byName = new Map(all.map((each) => [each.key.name, each]))
    const named = { all, names: [...byName.keys()], byName }
    known.set(namespace, named)
    return named
  }
}

/** Those that select the node, oldest first, and what is wrong with any of them. */
export function metallbAdvertisements(
  objects: StoredObjects,
  node: NodeFacts,
): {
  readonly advertisements: readonly NamedAdvertisement[]
  /** The names of those that do not. */
  readonly elsewhere: readonly string[]
  readonly problems: readonly Problem[]
  readonly needed: NonNullable<NodePlan['needed']>
  readonly meant: Meanings
} {
  const { aliases, problems } = aliasesOf(objects)
  const said = [...problems]
  const memory = new NameMemory(node.meant)
  const advertisements: NamedAdvertisement[] = []
  const elsewhere: string[] = []
  const around = { peers: namedIn(objects.BGPPeer.values()), pools: namedIn(objects.IPAddressPool.values()) }
  for (const written of [...objects.BGPAdvertisement.values()].sort(byAge)) {
    const { communities, faults: unknown } = communitiesOf(written, aliases, memory)
    said.push(...unknown.map((each) => problemOf(each, written.key, written.origin)))
    const { found, faults } = advertisementOf(written, around, attributesOf(written, communities), memory)
    said.push(...faults.map((each) => problemOf(each, written.key, written.origin)))
    if (selectsNode(written.value.spec.nodeSelectors, node)) advertisements.push(found)
    else elsewhere.push(written.key.name)
  }
  return { advertisements, elsewhere, problems: said, needed: neededBy(objects, aliases), meant: memory.meant }
}

/** The Communities that advertisements name: one of them that is deleted stays in force while they do. */
function neededBy({ BGPAdvertisement: all }: StoredObjects, aliases: Aliases): NonNullable<NodePlan['needed']> {
  return [...all.values()].flatMap(({ key, value }) =>
    value.spec.communities.flatMap((name) => {
      const found = aliases.get(key.namespace)?.get(name)
      return found === undefined ? [] : [{ kind: 'Community' as const, id: `${key.namespace}/${found.from.key.name}` }]
    }),
  )
}

function advertisementOf(
  from: Written,
  around: Surroundings,
  attributes: RouteAttributes,
  memory: NameMemory,
): { readonly found: NamedAdvertisement; readonly faults: readonly Fault[] } {
  const { namespace, name } = from.key
  const { spec } = from.value
  const faults: Fault[] = []
  const peers = peersOf(from, around, { memory, faults })
  const pools = poolsOf(from, around, { memory, faults })
  const selectors = spec.serviceSelectors.length === 0 ? [everyService] : spec.serviceSelectors
  const ofFamily = (family: AddressFamilyName): readonly Advertisement[] => {
    const [length, whole, field] =
      family === 'ipv4-unicast'
        ? ([spec.aggregationLength, 32, 'aggregationLength'] as const)
        : ([spec.aggregationLengthV6, 128, 'aggregationLengthV6'] as const)
    const fitting = pools.filter((pool) => {
      const found = length === whole ? undefined : tooWide(pool, length, family, field)
      if (found !== undefined) faults.push(found)
      return found === undefined
    })
    const filter = { kind: 'IPAddressPool', namespace, names: fitting.map(({ key }) => key.name), selectors: [] }
    const said = { ...attributes, ...annotatedAttributes(from.value.attributeKeys, family) }
    const attributeRules = [{ from, path: ['spec'], preferenceField: 'localPref', attributes: said }]
    return selectors.map((selector) => ({
      name: `BGPAdvertisement ${name}`,
      family,
      type: 'Service',
      selector,
      ...(length === whole ? {} : { aggregationLength: length, aggregatesLocal: true }),
      pools: filter,
      attributes: attributeRules,
    }))
  }
  const byFamily = { 'ipv4-unicast': ofFamily('ipv4-unicast'), 'ipv6-unicast': ofFamily('ipv6-unicast') }
  return { found: { namespace, peers: spec.peers.length === 0 ? undefined : new Set(peers), byFamily }, faults }
}

interface Said {
  readonly memory: NameMemory
  readonly faults: Fault[]
}

/** What the names of a list stand for; each that stands for nothing is said. */
function knownNames(
  { key, field, list }: Omit<ListPlace, 'index'>,
  { names, byName }: Named<Stored>,
  { memory, faults }: Said,
  { kind, outcome }: { readonly kind: string; readonly outcome: string },
): readonly string[] {
  return list.flatMap((name, index) => {
    const meant = memory.nameAt({ key, field, list, index }, (each) => byName.has(each))
    if (meant === name) return [name]
    const near = meant ?? nearest(name, names)
    // It may be there with an error of its own, which leaves it out.
    const remedy =
      near === undefined
        ? `Create or correct the ${kind}, or correct the name.`
        : `Did you mean ${near}? Else create or correct the ${kind}.`
    const stays = meant === undefined ? outcome : `${meant}, which was in force, stays`
    const message = `there is no ${kind} ${name} in the namespace that can be used: ${stays}`
    faults.push(fault('warning', ['spec', field, index], 'UnknownName', message, remedy))
    return meant === undefined ? [] : [meant]
  })
}

function peersOf({ key, value: { spec } }: Written, { peers }: Surroundings, said: Said): readonly string[] {
  if (spec.peers.length === 0) return []
  const place = { key, field: 'peers', list: spec.peers }
  return knownNames(place, peers(key.namespace), said, { kind: 'BGPPeer', outcome: 'nothing is announced to it' })
}

/** Those that are named or selected; without either, every pool of the namespace. */
function poolsOf({ key, value: { spec } }: Written, { pools }: Surroundings, said: Said): readonly Pool[] {
  const known = pools(key.namespace)
  const place = { key, field: 'ipAddressPools', list: spec.ipAddressPools }
  const named = knownNames(place, known, said, { kind: 'IPAddressPool', outcome: 'nothing of it is announced' })
  const { ipAddressPools, ipAddressPoolSelectors: selectors } = spec
  if (ipAddressPools.length === 0 && selectors.length === 0) return known.all
  const selected =
    selectors.length === 0
      ? []
      : known.all.filter(({ value: { metadata } }) =>
          selectors.some((selector) => selectorMatches(selector, metadata.labels)),
        )
  return [...new Set([...named.flatMap((name) => known.byName.get(name) ?? []), ...selected])]
}

/** An aggregate may not be wider than what the pool has: it would draw packets for addresses that are not ours. */
function tooWide(pool: Pool, length: number, family: AddressFamilyName, field: string): Fault | undefined {
  const { addresses } = pool.value.spec
  const wrong = addresses.find((text) => {
    const range = rangeOfBlock(blockOf(text))
    return range !== undefined && `${range.family}-unicast` === family && widestPrefixLength(range) > length
  })
  if (wrong === undefined) return undefined
  const message = `a prefix of length ${length} is wider than ${wrong} of pool ${pool.key.name}: not announced`
  const remedy = 'Write a longer length, or announce this pool by another BGPAdvertisement.'
  return fault('error', ['spec', field], 'InvalidAggregation', message, remedy)
}

/**
 * What the communities of an advertisement are. A name that stands for nothing any more stands for what it did: a slip,
 * here or in the Community, takes nothing off a route.
 */
function communitiesOf(
  { key, value: { spec } }: Written,
  byNamespace: Aliases,
  memory: NameMemory,
): { readonly communities: readonly WrittenCommunity[]; readonly faults: readonly Fault[] } {
  const aliases = byNamespace.get(key.namespace) ?? new Map<string, Alias>()
  const faults: Fault[] = []
  const communityOf = (name: string): WrittenCommunity | undefined =>
    parsedCommunity(name.trim()) ?? aliases.get(name)?.value ?? parsedCommunity(memory.standsFor(key, name) ?? '')
  const communities = spec.communities.flatMap((text, index): readonly WrittenCommunity[] => {
    const list = spec.communities
    const name = memory.nameAt({ key, field: 'communities', list, index }, (each) => communityOf(each) !== undefined)
    const found = name === undefined ? undefined : communityOf(name)
    const [known, alias] = [parsedCommunity(text.trim()), aliases.get(text)]
    if (name !== undefined && found !== undefined) memory.note(key, name, formatMetallbCommunity(found))
    if (known === undefined && alias === undefined) faults.push(unknownCommunity({ text, index, kept: found, aliases }))
    else if (known === undefined && alias?.from.isGone === true) {
      const message = `Community ${alias.from.key.name} is deleted: what it said last stays in force`
      const remedy = 'Write the Community again, or name none.'
      faults.push(fault('warning', ['spec', 'communities', index], 'UnknownCommunity', message, remedy))
    }
    return found === undefined ? [] : [found]
  })
  return { communities, faults }
}

function parsedCommunity(text: string): WrittenCommunity | undefined {
  const parsed = parseMetallbCommunity(text)
  return parsed !== undefined && !isCommunityFault(parsed) ? parsed : undefined
}

function unknownCommunity(unknown: {
  readonly text: string
  readonly index: number
  readonly kept: WrittenCommunity | undefined
  readonly aliases: ReadonlyMap<string, Alias>
}): Fault {
  const { text, index, kept, aliases } = unknown
  const near = nearest(text, [...aliases.keys()])
  const outcome =
    kept === undefined
      ? 'it is left out, and the rest is announced'
      : `${formatMetallbCommunity(kept)}, which was in force, stays`
  const remedy =
    near === undefined
      ? `Name ${text} in a Community, correct it there, or write 65000:100.`
      : `Did you mean ${near}? Else name or correct ${text} in a Community.`
  const message = `no Community of the namespace gives ${text} a value that can be used: ${outcome}`
  return fault('error', ['spec', 'communities', index], 'UnknownCommunity', message, remedy)
}

function attributesOf({ value: { spec } }: Written, found: readonly WrittenCommunity[]): RouteAttributes {
  const standard = new Set(found.flatMap(({ value }) => (typeof value === 'number' ? [value] : [])))
  const large = new Set(found.flatMap(({ value }) => (typeof value === 'string' ? [value] : [])))
  return {
    ...(standard.size === 0 ? {} : { communities: [...standard].sort((a, b) => a - b) }),
    ...(large.size === 0 ? {} : { largeCommunities: [...large].sort() }),
    ...(spec.localPref === 0 ? {} : { localPreference: spec.localPref }),
  }
}

/** Names of communities by namespace; of two of one name the one in the older object counts. */
function aliasesOf({ Community: communities }: StoredObjects): {
  readonly aliases: Aliases
  readonly problems: readonly Problem[]
} {
  const aliases = new Map<string, Map<string, Alias>>()
  const problems: Problem[] = []
  const isGone = (from: Stored<'Community'>): number => Number(from.isGone === true)
  for (const from of [...communities.values()].sort((a, b) => isGone(a) - isGone(b) || byAge(a, b)))
    for (const { name, value, path } of from.value.aliases) {
      const { key, origin } = from
      const own = aliases.get(key.namespace) ?? new Map<string, Alias>()
      aliases.set(key.namespace, own)
      const owner = own.get(name)?.from.key.name
      if (owner === undefined) own.set(name, { value, from })
      else if (from.isGone !== true)
        problems.push(problemOf(duplicateAlias([...path, 'name'], name, `in Community ${owner}`), key, origin))
    }
  return { aliases, problems }
}
