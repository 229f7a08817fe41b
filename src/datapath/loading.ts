/**
 * The programs and maps of the datapath, loaded. The kernel takes some hundred milliseconds for it, most of them for
 * the verifier and for the memory of the maps.
 *
 *     Loading --yields how an object is prepared--> loaded at once, or in another thread --object--> goes on
 *
 * Memory for the maps of flows is half of it where none are pinned. Two other threads make them then, before the object
 * is loaded, which finds them pinned.
 */
import { existsSync, rmSync } from 'node:fs'
import { cpus, release } from 'node:os'
import { HeraldError } from '../errors.ts'
import { BpfObject } from '../sys/bpf.ts'
import { makeMapsAside, type PinnedMap } from '../sys/map-maker.ts'
import { PartedObject } from '../sys/parted-object.ts'
import { openingInterval, openingsPerSec } from './capacity.ts'
import type { Converter } from './converters.ts'
import type { Acceleration, AttachMode, Netfilter } from './datapath.ts'
import type { HandOver } from './hand-over.ts'
import { mapNames, mapShapes, type MapName } from './layout.ts'
import { type Pins, podProgramName, programNames, replyProgramName, stageProgramNames } from './pins.ts'
import type { WantedMode } from './redirection.ts'
import { namedRefusal } from './refusal.ts'

export interface KernelDatapathOptions {
  /** Mount point of the bpf file system; pins lie under `<bpffs>/herald/v<schema>`. */
  readonly bpffs: string
  /** The compiled programs: build/bpf/herald.bpf.o. */
  readonly objectFile: string
  readonly attach: 'auto' | AttachMode
  /** Where a program goes in front of those of TC; by default nowhere. */
  readonly acceleration?: Acceleration
  /** Whether flows go past netfilter; `auto`: where it has nothing for them. By default through the stack. */
  readonly mode?: WantedMode
  /** What netfilter does to packets for pods; by default its rules are read whenever something changes. */
  readonly netfilter?: Netfilter
  /** Takes the file system for this process alone once more, where it was mounted anew. */
  readonly relock?: () => void
  /** Told about what was adopted, replaced or given up, one sentence each. */
  readonly log?: (message: string) => void
  /** Entries of maps when they are made, and to which pinned ones of flows grow. By default by the machine's memory. */
  readonly maxEntries?: Readonly<Partial<Record<MapName, number>>>
  /** To how many entries others may grow while they fill. By default by memory; no further than `maxEntries`. */
  readonly mostEntries?: Readonly<Partial<Record<MapName, number>>>
  /** How long established TCP connections go on to a backend that was removed; a pod has 30 s to end by default. */
  readonly drainSec?: number
  /**
   * How long after a pod became a backend a segment of it that is of no known flow is taken for one of an older
   * connection with the pod itself, and passes; later it is dropped.
   */
  readonly settleSec?: number
  /**
   * How long after a change of backends the table before it is asked for segments of unknown flows; a day by default.
   */
  readonly previousSec?: number
  /** So many new flows of one kind a CPU makes state for in a second; 0: for all. By default by the room for them. */
  readonly openingsPerSec?: number
  /** Another schema than this version's own, and what it takes over; for tests. */
  readonly version?: { readonly schema: number; readonly converters: readonly Converter[] }
}

export type Sizes = (name: MapName) => number

export interface Opening {
  readonly options: KernelDatapathOptions
  readonly pins: Pins
  readonly log: (message: string) => void
  /** How many entries a map takes when it is made. */
  readonly initially: Sizes
}

interface Wanted {
  /**
   * Everything of the object that is there before it is loaded; it can be done more than once. `isParted`: its programs
   * may be loaded by two threads.
   */
  prepare(isParted: boolean): BpfObject
  /** What other threads can do before that; how it went shows when the object is loaded. */
  ahead?(): Promise<unknown>
}

/** Work that needs loaded objects on its way. */
export type Loading<Result> = Generator<Wanted, Result, BpfObject>

export function atOnce<Result>(loading: Loading<Result>): Result {
  let step = loading.next()
  while (step.done !== true) {
    let object: BpfObject
    try {
      object = loadedHere(step.value)
    } catch (error) {
      step = loading.throw(error)
      continue
    }
    step = loading.next(object)
  }
  return step.value
}

/** This thread is free while the kernel loads. */
export async function aside<Result>(loading: Loading<Result>): Promise<Result> {
  let step = loading.next()
  while (step.done !== true) {
    let object: BpfObject
    try {
      object = await loadedElsewhere(step.value)
    } catch (error) {
      step = loading.throw(error)
      continue
    }
    step = loading.next(object)
  }
  return step.value
}

function loadedHere(wanted: Wanted): BpfObject {
  const object = wanted.prepare(false)
  try {
    object.load()
    return object
  } catch (error) {
    object.close()
    throw error
  }
}

async function loadedElsewhere(wanted: Wanted): Promise<BpfObject> {
  await wanted.ahead?.()
  const object = wanted.prepare(true)
  if (await object.loadAside().catch(() => false)) return object
  object.close()
  // Why it failed is said to this thread alone.
  return loadedHere(wanted)
}

/** In bpf/herald.bpf.c and its headers. */
const constants = {
  redirect: '.rodata.redirect',
  /** It is set in the object. */
  translate: '.rodata.snat',
  openings: '.rodata.openings',
} as const
const isSet = Uint8Array.of(1, 0, 0, 0)
const isUnset = new Uint8Array(4)

export function isRedirecting({ mode = 'stack' }: KernelDatapathOptions): boolean {
  return mode !== 'stack'
}

export interface Loaded {
  readonly object: BpfObject
  /** False: the kernel takes no call from program to program. */
  readonly isTranslating: boolean
  /** Why nothing is redirected, where the kernel takes only what goes through the stack. */
  readonly refusal: string | undefined
}

type LoadedObject = Omit<Loaded, 'refusal'>

/** In mode `auto` a kernel that does not take the programs for redirection serves through the stack. */
export function* loaded(opening: Opening, wanted: Sizes, handOver: HandOver | undefined): Loading<Loaded> {
  const { options, log } = opening
  const load = (isPast: boolean): Loading<LoadedObject> => loadedFor(opening, wanted, handOver, isPast)
  try {
    return { ...(yield* load(isRedirecting(options))), refusal: undefined }
  } catch (error) {
    if (options.mode !== 'auto' || !(error instanceof HeraldError) || error.code !== 'ERR_BPF_LOAD') throw error
    const found = yield* load(false)
    log(`flows go through the stack: ${error.message}`)
    return { ...found, refusal: `this kernel takes no programs past netfilter: ${error.message.split('\n')[0] ?? ''}` }
  }
}

function* loadedFor(
  opening: Opening,
  wanted: Sizes,
  handOver: HandOver | undefined,
  isPast: boolean,
): Loading<LoadedObject> {
  const { pins } = opening
  const load = function* (bridge: HandOver | undefined, isTranslating: boolean): Loading<LoadedObject> {
    const least = (name: MapName): number => Math.max(wanted(name), handOver?.leastEntries(name) ?? 0)
    const prepare = (object: BpfObject): void => {
      if (!isTranslating) object.setConstant(constants.translate, isUnset)
      bridge?.prepare(object)
      if (isPast) object.setConstant(constants.redirect, isSet)
    }
    const missing = missingMaps(pins)
    try {
      const ahead = (): Promise<unknown> => madeAhead(opening, least, missing)
      const prepared = (mayPart: boolean): BpfObject => {
        // In a hand-over also the map of the programs before is one of all of them.
        const isParted = mayPart && bridge === undefined && missingMaps(pins).size === 0
        return preparedObject(opening, least, prepare, isParted)
      }
      return { object: yield { prepare: prepared, ahead }, isTranslating }
    } catch (error) {
      // As libbpf does it with those that it makes by itself.
      for (const path of missing.values()) unpin(path)
      throw namedRefusal(error, release())
    }
  }
  try {
    return yield* load(handOver, true)
  } catch (error) {
    // Before 6.0 arm64 takes no call from program to program beside calls of functions.
    if (!(error instanceof HeraldError && /tail_call/.test(error.message))) throw error
    if (handOver !== undefined)
      opening.log('this kernel cannot hand on replies while flows are copied: some of the newest may be sent again')
    return yield* load(undefined, false)
  }
}

/** A file system that takes nothing any more keeps it; what went wrong before is what is said. */
function unpin(path: string): void {
  try {
    rmSync(path, { force: true })
  } catch {
    // The next start takes it over, or makes it anew.
  }
}

/** The verifier takes about as long for the ones as for the others. */
const parts = [
  [programNames.egress, ...stageProgramNames],
  [programNames.ingress, replyProgramName, podProgramName],
] as const

/** Paths of those that are not pinned, by the names that they have in the object. */
function missingMaps(pins: Pins): ReadonlyMap<MapName | 'stages', string> {
  const all = [...mapNames.map((name) => [name, pins.map(name)] as const), ['stages', pins.stages] as const]
  return new Map(all.filter(([, path]) => !existsSync(path)))
}

/** One of them takes as much memory as all others. */
const largest = 'connections'

/** What is not made here the object makes when it is loaded. */
function madeAhead(
  { options, initially }: Opening,
  least: Sizes,
  missing: ReturnType<typeof missingMaps>,
): Promise<unknown> {
  const wanted = [...missing].map(([name, path]): readonly [string, PinnedMap] => [
    name,
    { path, maxEntries: name === 'stages' ? undefined : entriesOf(name, Math.max(least(name), initially(name))) },
  ])
  const [first, others] = [wanted.filter(([name]) => name === largest), wanted.filter(([name]) => name !== largest)]
  if (first.length === 0 || others.length === 0) return Promise.resolve()
  const made = [first, others].map((maps) => makeMapsAside(options.objectFile, new Map(maps)).catch(() => false))
  return Promise.all(made)
}

/** Undefined: as the object says. */
function entriesOf(name: MapName, entries: number): number | undefined {
  return mapShapes[name].kind === 'array' ? undefined : entries
}

/** Its maps are the pinned ones where there are such; `least`: how many entries one takes at least when it is made. */
function preparedObject(
  { options, pins, initially }: Opening,
  least: Sizes,
  more: (object: BpfObject) => void,
  isParted: boolean,
): BpfObject {
  const { objectFile } = options
  const object = isParted ? new PartedObject(objectFile, ...parts) : new BpfObject(objectFile)
  try {
    let room = 0
    for (const name of mapNames) {
      const entries = pins.maxEntries(name) ?? Math.max(least(name), initially(name))
      const made = entriesOf(name, entries)
      if (made !== undefined) object.setMaxEntries(name, made)
      if (name === 'openings') room = entries
      object.setPinPath(name, pins.map(name))
    }
    object.setPinPath('stages', pins.stages)
    const perSec = options.openingsPerSec ?? openingsPerSec(room, cpus().length)
    object.setConstant(constants.openings, openingInterval(perSec))
    more(object)
    return object
  } catch (error) {
    object.close()
    throw error
  }
}
