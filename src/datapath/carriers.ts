/** Which interfaces carry our programs, and how it comes to be exactly those that shall. */
import { messageOf } from '../errors.ts'
import { ifnameToIndex, listLinks } from '../sys/links.ts'
import { detachAllXdp } from './acceleration.ts'
import {
  attachedInterfaces,
  attachInterface,
  attachReplies,
  checkInterface,
  checkOrder,
  detachFilters,
  detachLinks,
  halfAttached,
  isForReplies,
  retireFormer,
  type Probes,
  type ProgramFds,
} from './attachment.ts'
import type { AttachMode } from './datapath.ts'
import type { Pins } from './pins.ts'
import { detachAllPods } from './pod-carriers.ts'

/**
 * Where an earlier process attached, in either mode: the programs there become ours. Those for replies first and
 * everywhere: what they do not know an earlier version may (see hand-over.ts), but not the other way round. Answers
 * with how many uplinks are gone since, or have lost a link, as far as links say it.
 */
export function adoptInterfaces(
  { pins, mode, programs, replies, held }: Attachments,
  log: (message: string) => void,
): number {
  const [pinned, half] = [uplinkPins(pins), halfAttached(pins)]
  const names = new Map(listLinks().map(({ index, name }) => [index, name]))
  const carriers = (['tcx', 'clsact'] as const).flatMap((former) =>
    [...attachedInterfaces(pins, former)].map((ifindex) => ({
      former,
      ifindex,
      name: names.get(ifindex) ?? String(ifindex),
      isOther: isForReplies(pins, former, ifindex),
    })),
  )
  for (const { former, ifindex, isOther } of carriers)
    attachReplies(pins, former, ifindex, isOther ? replies.program : programs.egress)
  for (const { former, ifindex, name, isOther } of carriers) {
    if (!isOther) attachInterface(pins, former, ifindex, programs)
    log(`replaced the programs on ${name} (${former})`)
    if (former === mode) (isOther ? replies.held : held).set(ifindex, name)
  }
  return pinned - uplinkPins(pins) + half
}

function uplinkPins(pins: Pins): number {
  return pins.links().filter(({ direction }) => direction === 'ingress').length
}

/** The program on interfaces that are no uplinks, and where it is. */
export interface Replies {
  readonly program: number
  readonly held: Map<number, string>
}

export interface Attachments {
  readonly replies: Replies
  readonly pins: Pins
  readonly mode: AttachMode
  readonly programs: ProgramFds
  /** Asked for where a foreign program meets packets before ours. */
  readonly probes: () => Probes
  /** By index: what carries our programs now. */
  readonly held: Map<number, string>
  /** What an earlier process left in either mode was looked for: one question per interface of the machine. */
  isSwept: boolean
  /** What versions with another schema left was removed. */
  isAlone: boolean
}

function detach(pins: Pins, mode: AttachMode, ifindex: number): readonly string[] {
  return mode === 'tcx' ? detachLinks(pins, ifindex) : detachFilters(ifindex)
}

/** One interface that fails does not keep the others from it; then the first failure is thrown. */
export function attachExactly(
  attachments: Attachments,
  names: readonly string[],
  others: readonly string[],
  log: (message: string) => void,
): void {
  const { pins, mode, programs, probes, held, replies } = attachments
  const wanted = new Set<number>()
  let failure: unknown
  for (const name of names) {
    try {
      const ifindex = ifnameToIndex(name)
      wanted.add(ifindex)
      held.delete(ifindex)
      checkInterface(mode, ifindex, name)
      // Also when held: its link may have been removed by someone.
      attachInterface(pins, mode, ifindex, programs)
      checkOrder(mode, ifindex, name, programs, probes)
      held.set(ifindex, name)
    } catch (error) {
      failure ??= error
    }
  }
  for (const ifindex of attachOthers(attachments, others, wanted, log)) wanted.add(ifindex)
  for (const former of ['tcx', 'clsact'] as const) {
    const known = former === mode ? [...held.keys(), ...replies.held.keys()] : []
    const carriers = attachments.isSwept ? known : attachedInterfaces(pins, former)
    for (const ifindex of [...carriers]) {
      if (wanted.has(ifindex) && former === mode) continue
      for (const removed of detach(pins, former, ifindex)) log(`removed ${removed}`)
      if (former === mode) for (const map of [held, replies.held]) map.delete(ifindex)
    }
  }
  if (!attachments.isAlone && held.size > 0 && failure === undefined) {
    // The kernel ends a link without a pin some time later; here another program follows it.
    for (const former of pins.others()) {
      detachAllPods(former, 'tcx')
      for (const removed of detachAllXdp(former)) log(`removed ${removed}`)
    }
    for (const removed of retireFormer(pins)) log(`removed ${removed}`)
    attachments.isAlone = true
  }
  attachments.isSwept = true
  for (const map of [held, replies.held])
    for (const ifindex of map.keys()) if (!wanted.has(ifindex)) map.delete(ifindex)
  if (failure !== undefined) throw failure
}

/**
 * Interfaces that carry replies only: one that fails costs no uplink, and is said. Answers with those that are held.
 */
function attachOthers(
  { pins, mode, held, replies }: Attachments,
  others: readonly string[],
  uplinks: ReadonlySet<number>,
  log: (message: string) => void,
): readonly number[] {
  const attached: number[] = []
  for (const name of others) {
    try {
      const ifindex = ifnameToIndex(name)
      if (uplinks.has(ifindex)) continue
      checkInterface(mode, ifindex, name)
      // It was an uplink: what takes requests leaves it.
      if (held.delete(ifindex)) for (const removed of detach(pins, mode, ifindex)) log(`removed ${removed}`)
      attachReplies(pins, mode, ifindex, replies.program)
      replies.held.set(ifindex, name)
      attached.push(ifindex)
    } catch (error) {
      log(`replies by ${name} are not translated: ${messageOf(error)}`)
    }
  }
  return attached
}
