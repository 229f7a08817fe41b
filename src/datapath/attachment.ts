/** Where the two programs are attached: by TCX links, pinned, or by clsact filters, which persist by themselves. */
import { unlinkSync } from 'node:fs'
import { closeFd, openPinned, pin } from '../sys/bpf.ts'
import {
  attachFilter,
  createTcxLink,
  destroyClsact,
  detachFilter,
  detachLink,
  filterProgramId,
  isTcxSupported,
  tcxLinkInterface,
  updateLink,
  type Direction,
  type FilterPlace,
} from '../sys/bpf-attach.ts'
import { hasTcFilters, listLinks } from '../sys/links.ts'
import type { AttachMode } from './datapath.ts'
import { directions, type Pins } from './pins.ts'

/** Behind the filters of Cilium, which uses priority 1; the handle says HE. */
const filterPriority = 49
const filterHandle = 0x4845

export type ProgramFds = Readonly<Record<Direction, number>>

function placeOf(ifindex: number, direction: Direction): FilterPlace {
  return { ifindex, direction, handle: filterHandle, priority: filterPriority }
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
    const fd = openPinned(path)
    if (fd === undefined) return false
    const isLive = tcxLinkInterface(fd) === ifindex
    closeFd(fd)
    if (!isLive) unlinkSync(path)
    return isLive
  })
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
  const path = pins.link(ifindex, direction)
  const held = openPinned(path)
  if (held !== undefined) {
    try {
      if (tcxLinkInterface(held) === ifindex) return updateLink(held, program)
      unlinkSync(path)
    } finally {
      closeFd(held)
    }
  }
  const link = createTcxLink(program, ifindex, direction)
  try {
    pin(link, path)
  } finally {
    closeFd(link)
  }
}

/** Removes our TCX links from an interface, also while another process holds them. */
export function detachLinks(pins: Pins, ifindex: number): string[] {
  return pins
    .links()
    .filter((link) => link.ifindex === ifindex)
    .map(({ path, direction }) => {
      const fd = openPinned(path)
      if (fd !== undefined) {
        detachLink(fd)
        closeFd(fd)
      }
      unlinkSync(path)
      return `TCX link of interface ${ifindex} ${direction}`
    })
}

/** Removes our filters from an interface, and the clsact qdisc when nothing else uses it. */
export function detachFilters(ifindex: number): string[] {
  const ours = directions.filter((direction) => filterProgramId(placeOf(ifindex, direction)) !== undefined)
  for (const direction of ours) detachFilter(placeOf(ifindex, direction))
  if (ours.length > 0 && !directions.some((direction) => hasTcFilters(ifindex, direction))) destroyClsact(ifindex)
  return ours.map((direction) => `filter of interface ${ifindex} ${direction}`)
}
