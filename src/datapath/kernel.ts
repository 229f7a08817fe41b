/**
 * The real datapath: loads the compiled programs, pins everything, and writes what is to be served into the maps.
 *
 *     open:    pinned maps of an earlier process --reused--> new programs --link update--> same interfaces
 *     run:     upsert / remove --> tables/ --> maps <-- programs <-- packets
 *     close:   descriptors only; pins and links keep serving
 */
import { existsSync } from 'node:fs'
import { totalmem } from 'node:os'
import { HeraldError, messageOf } from '../errors.ts'
import { BpfObject } from '../sys/bpf.ts'
import { ifnameToIndex, listLinks } from '../sys/links.ts'
import {
  attachedInterfaces,
  attachInterface,
  attachReplies,
  isForReplies,
  checkInterface,
  checkOrder,
  chooseAttachMode,
  detachFilters,
  detachLinks,
  retireFormer,
  type ProgramFds,
} from './attachment.ts'
import { flowCapacity } from './capacity.ts'
import type { AttachMode, Datapath } from './datapath.ts'
import { KernelMaps } from './kernel-maps.ts'
import { mapNames, schema, type MapName } from './layout.ts'
import { directions, Pins, programNames, replyProgramName } from './pins.ts'
import { probe } from './probe.ts'
import { servedOver } from './served.ts'

export interface KernelDatapathOptions {
  /** Mount point of the bpf file system; pins lie under `<bpffs>/herald/v<schema>`. */
  readonly bpffs: string
  /** The compiled programs: build/bpf/herald.bpf.o. */
  readonly objectFile: string
  readonly attach: 'auto' | AttachMode
  /** Told about what was adopted, replaced or given up, one sentence each. */
  readonly log?: (message: string) => void
  /** Entries of maps when they are made; pinned ones keep their size. */
  readonly maxEntries?: Readonly<Partial<Record<MapName, number>>>
  /** How long established TCP connections go on to a backend that was removed; a pod has 30 s to end by default. */
  readonly drainSec?: number
  /**
   * How long after a pod became a backend a segment of it that is of no known flow is taken for one of an older
   * connection with the pod itself, and passes; later it is dropped.
   */
  readonly settleSec?: number
}

export interface KernelDatapath extends Datapath {
  /** For test runs of the programs: see `runProgram` in sys/bpf.ts. */
  readonly programs: ProgramFds
}

/**
 * Opens the datapath of this node, taking over what is pinned. Throws ERR_BPFFS, ERR_BPF_OBJECT_MISSING,
 * ERR_LIBBPF_MISSING, ERR_BPF_LOAD (with the verifier's words) or ERR_SYSCALL.
 */
export function openKernelDatapath(options: KernelDatapathOptions): KernelDatapath {
  const pins = new Pins(options.bpffs)
  if (!existsSync(options.objectFile))
    throw new HeraldError('ERR_BPF_OBJECT_MISSING', `${options.objectFile} does not exist`)
  const adopted =
    existsSync(pins.map('frontends')) && directions.every((direction) => existsSync(pins.program(direction)))
  pins.makeFolders()
  const object = new BpfObject(options.objectFile)
  try {
    const fitting = flowCapacity(totalmem())
    for (const name of mapNames) {
      const entries = pins.maxEntries(name) ?? options.maxEntries?.[name] ?? fitting[name]
      if (entries !== undefined) object.setMaxEntries(name, entries)
      object.setPinPath(name, pins.map(name))
    }
    object.load()
    return assemble(options, pins, object, adopted)
  } catch (error) {
    object.close()
    throw error
  }
}

function assemble(options: KernelDatapathOptions, pins: Pins, object: BpfObject, adopted: boolean): KernelDatapath {
  const log = options.log ?? (() => {})
  const programs: ProgramFds = {
    ingress: object.programFd(programNames.ingress),
    egress: object.programFd(programNames.egress),
  }
  const mode = chooseAttachMode(options.attach, programs)
  const replies = { program: object.programFd(replyProgramName), held: new Map<number, string>() }
  const held = adoptInterfaces(pins, mode, programs, replies, log)
  const attachments = { pins, mode, programs, replies, held, isSwept: false, isAlone: false }
  for (const direction of directions) pins.replaceProgram(direction, programs[direction])
  const maps = new KernelMaps(object)
  let isClosed = false
  // Touching memory after it was unmapped would end the process.
  const checkOpen = (): void => {
    if (isClosed) throw new HeraldError('ERR_SYSCALL', 'the datapath was closed', { errno: 'EBADF' })
  }
  const times = {
    nowNs: () => process.hrtime.bigint(),
    drainNs: BigInt(Math.round((options.drainSec ?? 30) * 1e9)),
    settleNs: BigInt(Math.round((options.settleSec ?? 600) * 1e9)),
  }
  const served = servedOver(maps, times, checkOpen)
  if (adopted) log(`adopted ${served.readAll().length} frontends from ${pins.folder}`)
  return {
    programs,
    ...served,
    upsert: (frontend) => {
      served.upsert(frontend)
      probe(programs.ingress, frontend, frontend.backends)
    },
    get status() {
      return { kind: 'ebpf' as const, attach: mode, interfaces: [...held.values()].sort(), adopted, schema }
    },
    attach: (names, others = []) => {
      checkOpen()
      attachExactly(attachments, names, others, log)
    },
    close: () => {
      isClosed = true
      maps.close()
    },
  }
}

/** Where an earlier process attached, in either mode: the programs there become ours. */
function adoptInterfaces(
  pins: Pins,
  mode: AttachMode,
  programs: ProgramFds,
  replies: Replies,
  log: (message: string) => void,
): Map<number, string> {
  const names = new Map(listLinks().map(({ index, name }) => [index, name]))
  const held = new Map<number, string>()
  for (const former of ['tcx', 'clsact'] as const) {
    for (const ifindex of attachedInterfaces(pins, former)) {
      const name = names.get(ifindex) ?? String(ifindex)
      const isOther = isForReplies(pins, former, ifindex)
      if (isOther) attachReplies(pins, former, ifindex, replies.program)
      else attachInterface(pins, former, ifindex, programs)
      log(`replaced the programs on ${name} (${former})`)
      if (former === mode) (isOther ? replies.held : held).set(ifindex, name)
    }
  }
  return held
}

/** The program on interfaces that are no uplinks, and where it is. */
interface Replies {
  readonly program: number
  readonly held: Map<number, string>
}

interface Attachments {
  readonly replies: Replies
  readonly pins: Pins
  readonly mode: AttachMode
  readonly programs: ProgramFds
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
function attachExactly(
  attachments: Attachments,
  names: readonly string[],
  others: readonly string[],
  log: (message: string) => void,
): void {
  const { pins, mode, programs, held, replies } = attachments
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
      checkOrder(mode, ifindex, name, programs)
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
    for (const removed of retireFormer(pins)) log(`removed ${removed}`)
    attachments.isAlone = true
  }
  attachments.isSwept = true
  for (const map of [held, replies.held])
    for (const ifindex of map.keys()) if (!wanted.has(ifindex)) map.delete(ifindex)
  if (failure !== undefined) throw failure
}

/** Interfaces that carry replies only: one that fails costs no uplink, and is said. Answers with those that are held. */
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
