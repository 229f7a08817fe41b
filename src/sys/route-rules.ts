/** Rules of routing (ip rule), as far as they ask what a look-up for a packet past netfilter does not tell. */
import { HeraldError } from '../errors.ts'
import { askAll, attributes, type NetlinkMessage } from './netlink.ts'
import { AF_INET, AF_INET6 } from './socket.ts'

// linux/fib_rules.h
const RTM_GETRULE = 34
/** struct fib_rule_hdr: family, lengths of destination and source, TOS. */
const headerBytes = 12
const tosAt = 3
const FRA_PRIORITY = 6
const untold: ReadonlyMap<number, string> = new Map([
  [23, 'ports'],
  [24, 'ports'],
  [25, 'the DSCP'],
  [26, 'the flow label'],
])
const families: Readonly<Record<number, string | undefined>> = { [AF_INET]: 'ip rule', [AF_INET6]: 'ip -6 rule' }

/** For people; undefined: there is none. Rules about marks are not meant: nothing has marked it. Throws ERR_SYSCALL. */
export function untoldRule(): string | undefined {
  for (const { body } of rules()) {
    const found = attributes(body, headerBytes)
    const words = families[body[0] ?? 0]
    const what = body[tosAt] === 0 ? [...found.keys()].map((key) => untold.get(key)).find(Boolean) : 'the TOS'
    if (words === undefined || what === undefined) continue
    const priority = Buffer.from(found.get(FRA_PRIORITY) ?? [0, 0, 0, 0]).readUInt32LE()
    return `rule ${priority} of routing asks for ${what} (${words})`
  }
  return undefined
}

/** Of every family. */
function rules(): readonly NetlinkMessage[] {
  try {
    return askAll('rules of routing', RTM_GETRULE, new Uint8Array(headerBytes))
  } catch (error) {
    // A kernel without them.
    if (error instanceof HeraldError && (error.errno === 'EOPNOTSUPP' || error.errno === 'EAFNOSUPPORT')) return []
    throw error
  }
}
