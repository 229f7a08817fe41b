/** What the kinds of Cilium's BGP have in common: numbers, timers, families and path attributes. Pure. */
import * as z from 'zod'
import { largeCommunity, standardCommunity, wellKnownCommunity } from './communities.ts'
import { fault, type Fault, type FieldPath } from './narrow.ts'

export const asn = z.number().int().min(0).max(4294967295)
export const port = z.number().int().min(1).max(65535)

/** Which addresses of a Service. */
export const serviceAddressTypes = ['LoadBalancerIP', 'ClusterIP', 'ExternalIP'] as const

/** Of an instance or a peer: what other objects and versions know it by. */
export const partName = z.string().min(1).max(255, 'a name has at most 255 characters')

/** A whole number with a default. */
export const numberOr = (least: number, most: number, fallback: number) =>
  z
    .number()
    .int()
    .min(least)
    .max(most)
    .nullish()
    .transform((value) => value ?? fallback)

export const connectRetryTimeSeconds = numberOr(1, 2147483647, 120)
export const holdTimeSeconds = numberOr(3, 65535, 90)
export const keepAliveTimeSeconds = z.number().int().min(1).max(65535).nullish()

/** The keepalive time that is not written: 30 s, but at most a third of the hold time (RFC 4271 10). */
export function keepaliveOf(written: number | null | undefined, holdSec: number): number {
  return written ?? Math.min(30, Math.floor(holdSec / 3))
}

export function keepaliveFaults(at: FieldPath, keepaliveSec: number, holdSec: number): Fault[] {
  if (keepaliveSec <= holdSec) return []
  const message = `keepAliveTimeSeconds ${keepaliveSec} is above holdTimeSeconds ${holdSec}`
  const path = [...at, 'keepAliveTimeSeconds']
  return [fault('error', path, 'KeepaliveAboveHold', message, 'Use a third of the hold time.')]
}

export const gracefulRestart = z
  .strictObject({ enabled: z.boolean(), restartTimeSeconds: numberOr(1, 4095, 120) })
  .nullish()

export const communities = z
  .strictObject({
    standard: z.array(standardCommunity).nullish(),
    wellKnown: z.array(wellKnownCommunity).nullish(),
    large: z.array(largeCommunity).nullish(),
  })
  .nullish()

export const localPreference = asn.nullish()

/** Those that the kinds name; all but two are not served. */
export const afi = z.enum(['ipv4', 'ipv6', 'l2vpn', 'ls', 'opaque'])
export const safi = z.enum([
  ...(['unicast', 'multicast', 'mpls_label', 'encapsulation', 'vpls', 'evpn', 'ls', 'sr_policy', 'mup'] as const),
  ...(['mpls_vpn', 'mpls_vpn_multicast', 'route_target_constraints', 'flowspec_unicast'] as const),
  ...(['flowspec_vpn', 'key_value'] as const),
])

interface Family {
  readonly afi: string
  readonly safi: string
}

export const isServedFamily = ({ afi, safi }: Family): boolean => ['ipv4', 'ipv6'].includes(afi) && safi === 'unicast'

const remedy = 'Use ipv4/unicast or ipv6/unicast.'

export function familyFault({ afi, safi }: Family, path: FieldPath): Fault {
  return fault('warning', path, 'FamilyNotServed', `family ${afi}/${safi} is not served`, remedy)
}

export function noFamily(path: FieldPath): Fault {
  return fault('error', path, 'NoFamily', 'no family is left that is served', remedy)
}
