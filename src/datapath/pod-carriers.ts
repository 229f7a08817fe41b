/**
 * Where herald_pod is: at ingress of the interfaces behind which pods are, beside whatever else an interface carries.
 */
import { HeraldError } from '../errors.ts'
import { programName } from '../sys/bpf.ts'
import {
  attachFilter,
  destroyClsact,
  detachFilter,
  filterProgramId,
  linkProgramId,
  tcxLinkInterface,
  tcxProgramIds,
  type FilterPlace,
} from '../sys/bpf-attach.ts'
import { hasEthernetHeader, hasIngressQdisc, listFilters, listLinks, type Link } from '../sys/links.ts'
import { makeFolder } from '../sys/folder.ts'
import { attachLinkAt, detachLinkAt, filterHandle, filterPriority } from './attachment.ts'
import type { AttachMode } from './datapath.ts'
import { directions, type Pins } from './pins.ts'

/** HP; the filters of uplinks have another one. */
const podHandle = 0x4850

function placeOf(ifindex: number): FilterPlace {
  return { ifindex, direction: 'ingress', handle: podHandle, priority: filterPriority }
}

/** The interfaces on which an earlier process left the program in this mode. Pins of interfaces that are gone go. */
export function podCarriers(pins: Pins, mode: AttachMode): readonly number[] {
  if (mode === 'clsact')
    return listLinks().flatMap(({ index }) => (filterProgramId(placeOf(index)) === undefined ? [] : [index]))
  return pins.podLinks().filter((ifindex) => {
    const path = pins.podLink(ifindex)
    const isLive = pins.withLink(path, (fd) => tcxLinkInterface(fd) === ifindex) === true
    if (!isLive) pins.dropLink(path)
    return isLive
  })
}

/** Puts the program there, or in the place of an earlier one, without a packet passing by. */
export function putPodProgram(pins: Pins, mode: AttachMode, ifindex: number, program: number): void {
  if (mode === 'clsact') return attachFilter(placeOf(ifindex), program)
  makeFolder(pins.pods, 0o700)
  attachLinkAt(pins, pins.podLink(ifindex), ifindex, 'ingress', program)
}

/**
 * The same where it may be: throws ERR_ATTACH on an interface whose packets it cannot read, and where a program of
 * somebody else meets what pods send, which may be the one that enforces policies.
 */
export function attachPods(pins: Pins, mode: AttachMode, { index, name }: Link, program: number): void {
  if (!hasEthernetHeader(index)) throw new HeraldError('ERR_ATTACH', `${name} has no Ethernet header`)
  if (mode === 'clsact' && hasIngressQdisc(index))
    throw new HeraldError('ERR_ATTACH', `${name} has the old ingress qdisc, in whose place clsact has to be`)
  const theirs = foreignAtIngress(index, mode === 'tcx' ? ownProgramId(pins, index) : undefined)
  if (theirs !== undefined) throw new HeraldError('ERR_ATTACH', `${theirs} at ingress of ${name} would be passed by`)
  putPodProgram(pins, mode, index, program)
}

function ownProgramId(pins: Pins, ifindex: number): number | undefined {
  return pins.withLink(pins.podLink(ifindex), linkProgramId)
}

/** For people: what is at ingress of an interface and not ours, of which the program of a link has this id. */
export function foreignAtIngress(ifindex: number, ownId: number | undefined): string | undefined {
  const program = tcxProgramIds(ifindex, 'ingress').find((id) => id !== ownId)
  if (program !== undefined) return `program ${programName(program)} (id ${program})`
  const filter = listFilters(ifindex, 'ingress').find(
    ({ handle }) => handle !== 0 && handle !== podHandle && handle !== filterHandle,
  )
  return filter === undefined ? undefined : `a ${filter.kind} filter of priority ${filter.priority}`
}

/** Takes it from an interface, as it was put there in this mode. */
export function detachPods(pins: Pins, mode: AttachMode, ifindex: number): void {
  if (mode === 'tcx') return detachLinkAt(pins, pins.podLink(ifindex))
  if (filterProgramId(placeOf(ifindex)) === undefined) return
  detachFilter(placeOf(ifindex))
  if (!directions.some((direction) => listFilters(ifindex, direction).length > 0)) destroyClsact(ifindex)
}

/** From every interface on which an earlier process left it; answers with their indexes. */
export function detachAllPods(pins: Pins, mode: AttachMode): readonly number[] {
  const carriers = podCarriers(pins, mode)
  for (const ifindex of carriers) detachPods(pins, mode, ifindex)
  return carriers
}
