/** All attributes by type. MP_REACH_NLRI and MP_UNREACH_NLRI, whose faults reset the session, are in mp-nlri.ts. */
import { aggregator, atomicAggregate } from './aggregation.ts'
import { as4Aggregator, as4Path } from './as4.ts'
import { asPath } from './as-path.ts'
import type { AttributeCodec } from './codec.ts'
import { communities, extendedCommunities, largeCommunities } from './communities.ts'
import { localPref, multiExitDisc } from './metrics.ts'
import { nextHop } from './next-hop.ts'
import { onlyToCustomer } from './only-to-customer.ts'
import { origin } from './origin.ts'
import { clusterList, originatorId } from './reflection.ts'
import { unused } from './unused.ts'

/** In the order in which they are sent: ascending type (RFC 4271 5). */
export const attributeCodecs: readonly AttributeCodec[] = [
  origin,
  asPath,
  nextHop,
  multiExitDisc,
  localPref,
  atomicAggregate,
  aggregator,
  communities,
  originatorId,
  clusterList,
  extendedCommunities,
  as4Path,
  as4Aggregator,
  largeCommunities,
  onlyToCustomer,
  ...unused,
]

export const attributeByType: ReadonlyMap<number, AttributeCodec> = new Map(
  attributeCodecs.map((codec) => [codec.type, codec]),
)
