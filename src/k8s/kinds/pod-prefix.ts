/** Prefixes that a node's pods may have, whoever says so: another one would draw the traffic of others. Pure. */
import { isForwardable, unmapped } from '../../ip/address.ts'
import { parsePrefix, type Prefix, prefixAddress, prefixLength } from '../../ip/prefix.ts'

/** The pods of one node have no more than 10.0.0.0/8: what is shorter is a slip of a digit, or a default route. */
const shortest = 8

/** undefined: it is none, or of addresses that no pod has, as those of a loopback, of one link or of many hosts. */
export function parsePodPrefix(text: string): Prefix | undefined {
  const prefix = parsePrefix(text)
  if (prefix === undefined || prefixLength(prefix) < shortest) return undefined
  const address = prefixAddress(prefix)
  return isForwardable(address) && unmapped(address) === address ? prefix : undefined
}

/** Why {@link parsePodPrefix} answers nothing. */
export function whyNoPodPrefix(text: string): string {
  return parsePrefix(text) === undefined
    ? `${text} is not a prefix`
    : `${text} is no prefix that the pods of one node have`
}
