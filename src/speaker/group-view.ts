/**
 * What a session hears, from its neighbor's configuration and from what was negotiated; sessions with equal views share
 * an update group.
 *
 *     neighbor, session, addresses of the node, drain --> view, limits, problem of each family --> key of the group
 */
import { afiSafiOf } from '../bgp/fsm/negotiate.ts'
import type { CodecContext } from '../bgp/messages/types.ts'
import type { AddressFamilyName, Neighbor } from '../desired/model.ts'
import { type Address, formatAddress, isLinkLocal } from '../ip/address.ts'
import { chooseNextHop, type ExportView } from '../policy/export.ts'
import { egressOtc } from '../policy/import.ts'
import type { LocalAddress } from './session/environment.ts'
import type { NegotiatedSession } from './session/types.ts'
import { isSameFamily } from './stale-routes.ts'

export type DrainPhase = 'none' | 'announcing' | 'withdrawn'

/** What a group does beyond its view; sessions of one group have it in common. */
export interface GroupLimits {
  /** Prefixes of one family that a member is sent at most. */
  readonly maxPrefixesOut?: number
}

export interface GroupView {
  readonly view: ExportView
  readonly limits: GroupLimits
  /** Why a configured family is left out, or what is odd about its next hop. */
  readonly problems: Readonly<Partial<Record<AddressFamilyName, string>>>
  /** Left out for want of an address, which may come. */
  readonly withoutAddress: readonly AddressFamilyName[]
}

/** `addresses` are asked for only where they matter; none: nothing is known of them. */
export function groupView(
  neighbor: Neighbor,
  { families, localAddress, codec }: NegotiatedSession,
  drain: DrainPhase,
  addresses: () => readonly LocalAddress[],
): GroupView {
  const nextHops: Partial<Record<AddressFamilyName, Address>> = {}
  const problems: Partial<Record<AddressFamilyName, string>> = {}
  const withoutAddress: AddressFamilyName[] = []
  for (const family of drain === 'withdrawn' ? [] : neighbor.families) {
    if (!families.some((other) => isSameFamily(other, afiSafiOf[family]))) {
      problems[family] = `${family} is not announced: the peer did not offer it`
      continue
    }
    const choice = chooseNextHop(family, neighbor, {
      localAddress,
      extendedNextHop: codec.extendedNextHop,
      interfaceAddresses: () => globalAddresses(neighbor.interface, localAddress, addresses()),
    })
    if (choice.ok) {
      nextHops[family] = choice.nextHop
      if (neighbor.nextHops?.[family] !== undefined && !isOurs(choice.nextHop, addresses()))
        problems[family] =
          `the next hop ${formatAddress(choice.nextHop)} of ${family} is no address of this node: ` +
          'packets go to whoever has it'
    } else {
      problems[family] = choice.reason
      withoutAddress.push(family)
    }
  }
  const { localAsn, localAs, role, maxPrefixesOut } = neighbor
  const otc = codec.isExternal ? egressOtc(role, localAs ?? localAsn) : undefined
  return {
    problems,
    withoutAddress,
    limits: maxPrefixesOut === undefined ? {} : { maxPrefixesOut },
    view: {
      localAsn,
      isExternal: codec.isExternal,
      nextHops,
      ...(localAs === undefined ? {} : { localAs }),
      ...(otc === undefined ? {} : { otc }),
      ...(drain === 'announcing' ? { isGracefulShutdown: true } : {}),
    },
  }
}

/** Of the interface that has the session's address; the device says which where the address is link-local. */
function globalAddresses(
  device: string | undefined,
  sessionAddress: Address,
  all: readonly LocalAddress[],
): readonly Address[] {
  const name = isLinkLocal(sessionAddress)
    ? device
    : (all.find(({ address }) => address === sessionAddress)?.device ?? device)
  return all.filter((one) => one.device === name && one.isGlobal).map(({ address }) => address)
}

/** Whether an address is one of this node; true where nothing is known. All of 127/8 is the node's own. */
export function isOurs(address: Address, all: readonly LocalAddress[]): boolean {
  const isLoopback = typeof address === 'number' && address >>> 24 === 127
  return all.length === 0 || isLoopback || all.some((one) => one.address === address)
}

/** Sessions with equal keys share a group. */
export function groupKey(view: ExportView, codec: CodecContext, limits: GroupLimits): string {
  const { nextHops, ...facts } = view
  const sorted = (record: object): unknown => Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([
    sorted(facts),
    sorted(nextHops),
    codec.fourOctetAs,
    codec.maxMessageBytes,
    codec.extendedNextHop,
    codec.families,
    limits.maxPrefixesOut,
  ])
}
