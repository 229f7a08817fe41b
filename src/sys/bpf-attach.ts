/** Attaching TC programs: TCX links (kernel 6.6), or clsact filters, which persist by themselves. */
import { closeSync, readFileSync } from 'node:fs'
import { errnoNumber } from './libc.ts'
import { checkedBpf, libbpfInt, takeLibbpfLog } from './libbpf.ts'

export type Direction = 'ingress' | 'egress'

const tcxAttachType: Readonly<Record<Direction, number>> = { ingress: 46, egress: 47 }
const tcAttachPoint: Readonly<Record<Direction, number>> = { ingress: 1, egress: 2 }
const tcxLinkType = 11
const tcReplace = 1
const BPF_F_BEFORE = 8
const traceIter = 28

/**
 * True when the kernel knows TCX: it then looks for the interface, which does not exist, before anything else fails.
 */
export function isTcxSupported(programFd: number): boolean {
  const result = libbpfInt('bpf_link_create', programFd, 0x7fffffff, tcxAttachType.ingress, null)
  if (result >= 0) closeSync(result)
  return result === -errnoNumber('ENODEV')
}

/**
 * A new link, before every program that is there: one that answers with a verdict ends the chain. The descriptor is the
 * caller's to pin and close.
 */
export function createTcxLink(programFd: number, ifindex: number, direction: Direction): number {
  // struct bpf_link_create_opts: its size, then flags.
  const options = new DataView(new ArrayBuffer(16))
  options.setBigUint64(0, 16n, true)
  options.setUint32(8, BPF_F_BEFORE, true)
  return checkedBpf(
    `attach to interface ${ifindex} ${direction}`,
    libbpfInt('bpf_link_create', programFd, ifindex, tcxAttachType[direction], new Uint8Array(options.buffer)),
  )
}

/** The link of a program that walks over what the kernel has; the descriptor is the caller's to close. */
export function createIterator(programFd: number): number {
  return checkedBpf('iterator', libbpfInt('bpf_link_create', programFd, 0, traceIter, null))
}

/** What it has to say, of the network namespace of this thread. */
export function readIterator(linkFd: number): Uint8Array {
  const fd = checkedBpf('bpf_iter_create', libbpfInt('bpf_iter_create', linkFd))
  try {
    return readFileSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** Ids of the TCX programs of an interface, in the order in which packets meet them; none where there is no TCX. */
export function tcxProgramIds(ifindex: number, direction: Direction): readonly number[] {
  const ids = new Uint32Array(64)
  const count = Uint32Array.of(ids.length)
  const result = libbpfInt(
    'bpf_prog_query',
    ifindex,
    tcxAttachType[direction],
    0,
    new Uint32Array(1),
    new Uint8Array(ids.buffer),
    count,
  )
  // Kernels without TCX know no such attach type.
  if (result === -errnoNumber('EINVAL')) return []
  checkedBpf(`list the programs of interface ${ifindex} ${direction}`, result)
  return [...ids.subarray(0, count[0])]
}

/** Replaces the program of a link; no packet passes without one. */
export function updateLink(linkFd: number, programFd: number): void {
  checkedBpf('bpf_link_update', libbpfInt('bpf_link_update', linkFd, programFd, null))
}

/** Ends a link even while others hold it. */
export function detachLink(linkFd: number): void {
  const result = libbpfInt('bpf_link_detach', linkFd)
  // The interface is gone already.
  if (result !== -errnoNumber('ENOENT') && result !== -errnoNumber('ENOLINK')) checkedBpf('bpf_link_detach', result)
}

/** The interface of a TCX link; 0 when it is gone, undefined when this is no TCX link. */
export function tcxLinkInterface(linkFd: number): number | undefined {
  return linkInterface(linkFd, tcxLinkType)
}

/** The interface of a link of this type (BPF_LINK_TYPE_*); 0 when that is gone, undefined of another type. */
export function linkInterface(linkFd: number, type: number): number | undefined {
  const info = new Uint8Array(48)
  checkedBpf('bpf_obj_get_info_by_fd', libbpfInt('bpf_obj_get_info_by_fd', linkFd, info, Uint32Array.of(info.length)))
  const view = new DataView(info.buffer)
  return view.getUint32(0, true) === type ? view.getUint32(16, true) : undefined
}

/** The id of the program of a link; undefined when the link has none any more. */
export function linkProgramId(linkFd: number): number | undefined {
  const info = new Uint8Array(48)
  checkedBpf('bpf_obj_get_info_by_fd', libbpfInt('bpf_obj_get_info_by_fd', linkFd, info, Uint32Array.of(info.length)))
  const id = new DataView(info.buffer).getUint32(8, true)
  return id === 0 ? undefined : id
}

export interface FilterPlace {
  readonly ifindex: number
  readonly direction: Direction
  readonly handle: number
  readonly priority: number
}

/** struct bpf_tc_hook */
function tcHook(ifindex: number, attachPoint: number): Uint8Array {
  const hook = new DataView(new ArrayBuffer(24))
  hook.setBigUint64(0, 24n, true)
  hook.setInt32(8, ifindex, true)
  hook.setInt32(12, attachPoint, true)
  return new Uint8Array(hook.buffer)
}

/** struct bpf_tc_opts */
function tcOptions(place: FilterPlace, programFd = 0, flags = 0): DataView {
  const options = new DataView(new ArrayBuffer(32))
  options.setBigUint64(0, 32n, true)
  options.setInt32(8, programFd, true)
  options.setUint32(12, flags, true)
  options.setUint32(20, place.handle, true)
  options.setUint32(24, place.priority, true)
  return options
}

/** Attaches or atomically replaces the filter at this place; makes the clsact qdisc when there is none. */
export function attachFilter(place: FilterPlace, programFd: number): void {
  const made = libbpfInt('bpf_tc_hook_create', tcHook(place.ifindex, tcAttachPoint.ingress | tcAttachPoint.egress))
  if (made !== -errnoNumber('EEXIST')) checkedBpf(`clsact qdisc on interface ${place.ifindex}`, made)
  const options = new Uint8Array(tcOptions(place, programFd, tcReplace).buffer)
  checkedBpf(
    `filter on interface ${place.ifindex}`,
    libbpfInt('bpf_tc_attach', tcHook(place.ifindex, tcAttachPoint[place.direction]), options),
  )
  takeLibbpfLog()
}

/** The id of the BPF program in the filter at this place; undefined when there is no such filter. */
export function filterProgramId(place: FilterPlace): number | undefined {
  const options = tcOptions(place)
  const result = libbpfInt(
    'bpf_tc_query',
    tcHook(place.ifindex, tcAttachPoint[place.direction]),
    new Uint8Array(options.buffer),
  )
  takeLibbpfLog()
  // No qdisc, no filter, no interface: the kernel has a different word for each.
  return result < 0 ? undefined : options.getUint32(16, true)
}

export function detachFilter(place: FilterPlace): void {
  const result = libbpfInt(
    'bpf_tc_detach',
    tcHook(place.ifindex, tcAttachPoint[place.direction]),
    new Uint8Array(tcOptions(place).buffer),
  )
  checkedBpf(`remove filter from interface ${place.ifindex}`, result)
}

/** Removes the clsact qdisc with everything in it. */
export function destroyClsact(ifindex: number): void {
  checkedBpf(
    `remove clsact from interface ${ifindex}`,
    libbpfInt('bpf_tc_hook_destroy', tcHook(ifindex, tcAttachPoint.ingress | tcAttachPoint.egress)),
  )
}
