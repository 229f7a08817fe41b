/** Where the two programs are attached: by TCX links, pinned, or by clsact filters, which persist by themselves. */
import { closeFd, openProgram, pin, programInfo, programName, runProgram } from '../sys/bpf.ts'
import {
  attachFilter,
  createTcxLink,
  destroyClsact,
  detachFilter,
  detachLink,
  filterProgramId,
  isTcxSupported,
  linkProgramId,
  tcxLinkInterface,
  tcxProgramIds,
  updateLink,
  type Direction,
  type FilterPlace,
} from '../sys/bpf-attach.ts'
import { HeraldError } from '../errors.ts'
import { hasEthernetHeader, hasIngressQdisc, listFilters, listLinks } from '../sys/links.ts'
import type { AttachMode } from './datapath.ts'
import { directions, type Pins, programNames } from './pins.ts'

/** The first, and within it before those that are there; the handle says HE. */
export const filterPriority = 1
export const filterHandle = 0x4845
/** Where filters of schema 1 are. */
const formerPriority = 49

export type ProgramFds = Readonly<Record<Direction, number>>
/** Packets that have to reach ours, by hook. */
export type Probes = Readonly<Record<Direction, readonly Uint8Array[]>>

function placeOf(ifindex: number, direction: Direction, priority = filterPriority): FilterPlace {
  return { ifindex, direction, handle: filterHandle, priority }
}

export function chooseAttachMode(wanted: 'auto' | AttachMode, programs: ProgramFds): AttachMode {
  if (wanted !== 'auto') return wanted
  return isTcxSupported(programs.ingress) ? 'tcx' : 'clsact'
}

/** The interfaces on which an earlier process left our programs in this mode. */
export function attachedInterfaces(pins: Pins, mode: AttachMode): Set<number> {
  if (mode === 'tcx') return new Set(liveLinks(pins).map(({ ifindex }) => ifindex))
  return new Set(
    listLinks()
      .filter(({ index }) => directions.some((direction) => filterProgramId(placeOf(index, direction)) !== undefined))
      .map(({ index }) => index),
  )
}

/** Pinned links whose interface still exists; the others are removed. */
function liveLinks(pins: Pins): ReturnType<Pins['links']> {
  return pins.links().filter(({ path, ifindex }) => {
    const isLive = pins.withLink(path, (fd) => tcxLinkInterface(fd) === ifindex) === true
    if (!isLive) pins.dropLink(path)
    return isLive
  })
}

/** How many interfaces have lost one of the links of an uplink: those for replies alone have another program. */
export function halfAttached(pins: Pins): number {
  const links = pins.links()
  return links.filter(({ path, ifindex, direction }) => {
    if (links.some((other) => other.ifindex === ifindex && other.direction !== direction)) return false
    const id = direction === 'egress' ? pins.withLink(path, linkProgramId) : undefined
    return direction === 'ingress' || (id !== undefined && programName(id) === programNames.egress)
  }).length
}

/** Throws ERR_ATTACH when the programs cannot work on an interface, whoever attaches them. */
export function checkInterface(mode: AttachMode, ifindex: number, name: string): void {
  if (!hasEthernetHeader(ifindex))
    throw new HeraldError('ERR_ATTACH', `${name} has no Ethernet header (tun, WireGuard, GRE, PPP): not served there`)
  if (mode === 'clsact' && hasIngressQdisc(ifindex))
    throw new HeraldError('ERR_ATTACH', `${name} has the old ingress qdisc, in whose place clsact has to be`)
}

/** TCX_NEXT: the next program of the chain is asked. */
const nextVerdict = -1

/** Whether a foreign program leaves packets of ours, as they are, to what comes after it. */
function letsPass(id: number, packets: readonly Uint8Array[]): boolean {
  const fd = openProgram(id)
  if (fd === undefined) return false
  try {
    return packets.every((sent) => {
      const { verdict, packet } = runProgram(fd, sent)
      return verdict === nextVerdict && Buffer.compare(packet, sent) === 0
    })
  } catch {
    // A kind of program that takes no test run: nothing is known of it.
    return false
  } finally {
    closeFd(fd)
  }
}

/**
 * Throws ERR_ATTACH when a program that is not ours meets packets first, and keeps from ours one of those that are
 * tried.
 */
export function checkOrder(
  mode: AttachMode,
  ifindex: number,
  name: string,
  programs: ProgramFds,
  probes: () => Probes,
): void {
  for (const direction of directions) {
    const ours = programInfo(programs[direction]).id
    const chain = tcxProgramIds(ifindex, direction)
    // Beside a filter that takes its place the link of ours is there until all of them are attached.
    const before = mode === 'tcx' ? chain.slice(0, Math.max(0, chain.indexOf(ours))) : chain.filter((id) => id !== ours)
    const [first] = before
      .filter((id) => !letsPass(id, probes()[direction]))
      .map((id) => `program ${programName(id)} (id ${id})`)
    const filter =
      mode === 'clsact' ? listFilters(ifindex, direction).find(({ priority }) => priority < filterPriority) : undefined
    const what = first ?? (filter === undefined ? undefined : `a ${filter.kind} filter of priority ${filter.priority}`)
    if (what !== undefined)
      throw new HeraldError('ERR_ATTACH', `${what} on ${name} ${direction} is before ours and may keep packets from it`)
    if (mode === 'tcx' && !chain.includes(ours))
      throw new HeraldError('ERR_ATTACH', `our program is not on ${name} ${direction} although it was attached`)
  }
}

/** Attaches the program for replies alone, or puts it in the place of another one of ours. */
export function attachReplies(pins: Pins, mode: AttachMode, ifindex: number, program: number): void {
  if (mode === 'clsact') attachFilter(placeOf(ifindex, 'egress'), program)
  else attachLink(pins, ifindex, 'egress', program)
}

/** The id of a program that an earlier process left for replies alone; undefined when it is on no interface. */
export function replyProgramId(pins: Pins): number | undefined {
  const links = pins.links()
  const link = links.find(
    ({ ifindex, direction }) =>
      direction === 'egress' && !links.some((other) => other.ifindex === ifindex && other.direction === 'ingress'),
  )
  const id = link === undefined ? undefined : pins.withLink(link.path, linkProgramId)
  if (id !== undefined) return id
  return listLinks()
    .filter(({ index }) => filterProgramId(placeOf(index, 'ingress')) === undefined)
    .map(({ index }) => filterProgramId(placeOf(index, 'egress')))
    .find((id) => id !== undefined)
}

/** Whether an earlier process left only the program for replies on an interface. */
export function isForReplies(pins: Pins, mode: AttachMode, ifindex: number): boolean {
  if (mode === 'clsact') return filterProgramId(placeOf(ifindex, 'ingress')) === undefined
  return !pins.links().some((link) => link.ifindex === ifindex && link.direction === 'ingress')
}

/** Attaches both programs or replaces those that are there, without a packet passing by. */
export function attachInterface(pins: Pins, mode: AttachMode, ifindex: number, programs: ProgramFds): void {
  // Replies before requests: no connection is translated one way only.
  for (const direction of ['egress', 'ingress'] as const) {
    if (mode === 'clsact') attachFilter(placeOf(ifindex, direction), programs[direction])
    else attachLink(pins, ifindex, direction, programs[direction])
  }
}

function attachLink(pins: Pins, ifindex: number, direction: Direction, program: number): void {
  attachLinkAt(pins, pins.link(ifindex, direction), ifindex, direction, program)
}

/** A TCX link pinned at a path and kept, or another program in the one that is. */
export function attachLinkAt(pins: Pins, path: string, ifindex: number, direction: Direction, program: number): void {
  const isThere = pins.withLink(path, (fd) => {
    if (tcxLinkInterface(fd) !== ifindex) return false
    updateLink(fd, program)
    return true
  })
  if (isThere === true) return pins.keepLink(path)
  pins.dropLink(path)
  pins.keepLink(path, createTcxLink(program, ifindex, direction))
  try {
    pins.withLink(path, (fd) => pin(fd, path))
  } catch (error) {
    pins.dropLink(path)
    throw error
  }
}

/** Ends a TCX link, also while another process holds it. */
export function detachLinkAt(pins: Pins, path: string): void {
  pins.withLink(path, detachLink)
  pins.dropLink(path)
}

/** Removes our TCX links from an interface. */
export function detachLinks(pins: Pins, ifindex: number): string[] {
  return pins
    .links()
    .filter((link) => link.ifindex === ifindex)
    .map(({ path, direction }) => {
      detachLinkAt(pins, path)
      return `TCX link of interface ${ifindex} ${direction}`
    })
}

function detachFormerFilters(ifindex: number): readonly Direction[] {
  const former = directions.filter(
    (direction) => filterProgramId(placeOf(ifindex, direction, formerPriority)) !== undefined,
  )
  for (const direction of former) detachFilter(placeOf(ifindex, direction, formerPriority))
  return former
}

/** Once ours are attached: what versions with another schema left serves nobody, by what they knew. */
export function retireFormer(pins: Pins): string[] {
  const links = pins.others().flatMap((former) => {
    const carriers = new Set(former.links().map(({ ifindex }) => ifindex))
    return [...[...carriers].flatMap((ifindex) => detachLinks(former, ifindex)), ...former.removeVersion()]
  })
  return [
    ...links,
    ...listLinks().flatMap(({ index, name }) =>
      detachFormerFilters(index).map((direction) => `former filter of ${name} ${direction}`),
    ),
  ]
}

/** Removes our filters from an interface, and the clsact qdisc when nothing else uses it. */
export function detachFilters(ifindex: number): string[] {
  const ours = directions.filter((direction) => filterProgramId(placeOf(ifindex, direction)) !== undefined)
  for (const direction of ours) detachFilter(placeOf(ifindex, direction))
  ours.push(...detachFormerFilters(ifindex))
  if (ours.length > 0 && !directions.some((direction) => listFilters(ifindex, direction).length > 0))
    destroyClsact(ifindex)
  return ours.map((direction) => `filter of interface ${ifindex} ${direction}`)
}
