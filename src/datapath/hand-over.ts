/**
 * Taking over from maps of another shape while packets go on: those of an earlier schema, or our own that are too
 * small.
 *
 *     plan     what is read lies in the folder of its schema, or moves aside (growth)
 *     fill     the new maps: configuration, then flows; the earlier programs serve from theirs meanwhile
 *     bridge   a reply whose flow is not copied yet is handed on to the earlier program; then the programs are swapped
 *     finish   flows that were opened meanwhile are copied; what was before is removed
 *
 * Requests need no bridge: the tables are equal, so both choose the same backend. A crash at any step leaves what the
 * next start does once more.
 */
import { existsSync, renameSync, rmdirSync, unlinkSync } from 'node:fs'
import { HeraldError } from '../errors.ts'
import { BpfMap, type BpfObject, closeFd, openPinned, openProgram } from '../sys/bpf.ts'
import { makeFolder } from '../sys/folder.ts'
import type { Conversion, Converter } from './converters.ts'
import { flowNames, mapNames, mapShapes, type MapName } from './layout.ts'
import { inARow, indexKey } from './maps.ts'
import type { Pins } from './pins.ts'

/** What is in a ring is for a reader who was there. */
const isOfReader = (name: MapName): boolean => mapShapes[name].kind === 'ring'
const isOfFlows = (name: MapName): boolean => (flowNames as readonly MapName[]).includes(name)
/** `enum former` in bpf/herald.bpf.c. */
const formers = { egress: 0, reply: 1 } as const
const bridgeMap = 'formers'
const isSet = Uint8Array.of(1, 0, 0, 0)
const handOverConstant = '.rodata.hand_over'

interface Source {
  readonly name: MapName
  readonly path: string
  readonly conversion: Conversion
}

export class HandOver {
  /** For people: from what. */
  readonly what: string
  /** Where the programs are pinned that serve until now. */
  readonly from: Pins
  readonly #pins: Pins
  readonly #sources: readonly Source[]
  #isSwapping = false

  constructor(pins: Pins, from: Pins, sources: readonly Source[], what: string) {
    this.#pins = pins
    this.from = from
    this.#sources = sources
    this.what = what
  }

  get isOfSchema(): boolean {
    return this.from !== this.#pins
  }

  /** True until programs are swapped. */
  get isUndoable(): boolean {
    return !this.#isSwapping
  }

  /** What a map must take at least. */
  leastEntries(name: MapName): number {
    const sourceOf = (wanted: MapName): Source | undefined => this.#sources.find((each) => each.name === wanted)
    const source = sourceOf(name)
    if (source !== undefined) return withMap(source.path, ({ info }) => info.maxEntries)
    // They begin anew, with a place for each frontend that is taken over.
    const frontends = name === 'counters' ? sourceOf('frontends') : undefined
    return frontends === undefined
      ? 0
      : 2 ** Math.ceil(Math.log2(2 * withMap(frontends.path, (map) => map.countEntries()) + 1))
  }

  /** Before the object is loaded: its programs know of others before them, for as long as some of those may serve. */
  prepare(object: BpfObject): void {
    // What is left where no try came to the swap was finished by a version that knows nothing of this pin.
    if (!this.#pins.isSwapping) removePin(this.#pins.formers)
    object.setConstant(handOverConstant, isSet)
    object.setPinPath(bridgeMap, this.#pins.formers)
  }

  /** Copies everything; the object is loaded and serves nobody yet. Throws ERR_MAP_FULL, ERR_SYSCALL. */
  fill(object: BpfObject): void {
    // A try before this one came as far as the swap: flows that are in the new maps are newer.
    const isServing = existsSync(this.#pins.swapped)
    // In the order of flowNames: none is missed that moves on while they are read.
    const inOrder = [
      ...this.#sources.filter(({ name }) => !isOfFlows(name)),
      ...flowNames.flatMap((name) => this.#sources.find((source) => source.name === name) ?? []),
    ]
    for (const { name, path, conversion } of inOrder)
      withMap(path, (from) => {
        const to = object.openMap(name)
        if (isServing && isOfFlows(name)) addMissing(from, to, conversion)
        else copyMap(name, from, to, conversion)
      })
  }

  /** `reply`: the id of the program that translates replies on interfaces that are no uplinks, where there is one. */
  bridge(object: BpfObject, reply: number | undefined): void {
    makeFolder(this.#pins.swapped, 0o700)
    this.#isSwapping = true
    if (this.isOfSchema) this.#pins.takeLinks(this.from)
    const map = object.openMap(bridgeMap)
    const programs = {
      egress: openPinned(this.from.program('egress')),
      reply: reply === undefined ? undefined : openProgram(reply),
    }
    for (const [name, fd] of Object.entries(programs)) {
      if (fd === undefined) continue
      const index = indexKey(formers[name as keyof typeof formers])
      // What a try before this one has left stays: what serves by now may be its own, and would ask itself.
      if (!map.lookup(index, new Uint8Array(4))) map.update(index, indexKey(fd))
      closeFd(fd)
    }
  }

  /** After the swap. What cannot be copied any more is said by an error, and everything else is done. */
  finish(object: BpfObject): void {
    try {
      for (const { name, path, conversion } of this.#sources)
        if (isOfFlows(name)) withMap(path, (from) => addMissing(from, object.openMap(name), conversion))
    } finally {
      // First, so that whoever ends here leaves none that is empty: programs of ours would be put into it by the next.
      removePin(this.#pins.formers)
      const map = object.openMap(bridgeMap)
      for (const index of Object.values(formers)) map.delete(indexKey(index))
      if (this.isOfSchema) {
        this.from.removeVersion()
        rmdirSync(this.#pins.arriving)
      } else this.#removeMoved()
      rmdirSync(this.#pins.swapped)
    }
  }

  /** Before the swap: as if nothing had been tried. */
  undo(): void {
    for (const { name, path } of this.#sources) {
      const own = this.#pins.map(name)
      removePin(own)
      if (!this.isOfSchema) renameSync(path, own)
    }
    removePin(this.#pins.formers)
    rmdirSync(this.isOfSchema ? this.#pins.arriving : this.#pins.aside)
    if (existsSync(this.#pins.swapped)) rmdirSync(this.#pins.swapped)
  }

  #removeMoved(): void {
    for (const { path } of this.#sources) unlinkSync(path)
    rmdirSync(this.#pins.aside)
  }
}

/**
 * What has to be handed over before our programs may serve, prepared; undefined when nothing has. `wanted`: how many
 * entries a map is to take.
 */
export function planHandOver(
  pins: Pins,
  wanted: (name: MapName) => number,
  converters: readonly Converter[],
): HandOver | undefined {
  if (!pins.isWhole) removeUnfit(pins)
  const handOver = planUpgrade(pins, converters) ?? planGrowth(pins, wanted)
  // One that ended there was as good as over.
  if (handOver === undefined) {
    removePin(pins.formers)
    if (existsSync(pins.swapped)) rmdirSync(pins.swapped)
  }
  return handOver
}

function planUpgrade(pins: Pins, converters: readonly Converter[]): HandOver | undefined {
  const isBegun = existsSync(pins.arriving)
  if (pins.isWhole && !isBegun) return undefined
  for (const { from, maps } of [...converters].sort((a, b) => b.from - a.from)) {
    const former = pins.others().find(({ version, isWhole }) => version === from && isWhole)
    if (former === undefined) continue
    makeFolder(pins.arriving, 0o700)
    const sources = mapNames.flatMap((name) => {
      const conversion = maps[name]
      return conversion === undefined || isOfReader(name) || !existsSync(former.map(name))
        ? []
        : { name, path: former.map(name), conversion }
    })
    return new HandOver(pins, former, sources, `schema ${from}`)
  }
  if (isBegun) rmdirSync(pins.arriving)
  return undefined
}

function planGrowth(pins: Pins, wanted: (name: MapName) => number): HandOver | undefined {
  if (!pins.isWhole) return undefined
  const growing = mapNames.filter((name) => {
    if (isOfReader(name)) return false
    const entries = pins.maxEntries(name)
    if (entries === undefined || existsSync(pins.moved(name))) return existsSync(pins.moved(name))
    // Per-CPU arrays have a place for each of what a version knows: others are another version's.
    return mapShapes[name].kind === 'array' ? entries !== mapShapes[name].maxEntries : wanted(name) > entries
  })
  if (growing.length === 0) {
    // One that ended before it had begun, or after it was over.
    if (existsSync(pins.aside)) rmdirSync(pins.aside)
    return undefined
  }
  makeFolder(pins.aside, 0o700)
  for (const name of growing) if (!existsSync(pins.moved(name))) renameSync(pins.map(name), pins.moved(name))
  const sources = growing.map((name) => ({ name, path: pins.moved(name), conversion: 'same' as const }))
  return new HandOver(pins, pins, sources, `maps of another size (${growing.join(', ')})`)
}

/** Left by another version that ended in its first start: nothing grows from it, the kernel takes no other size. */
function removeUnfit(pins: Pins): void {
  for (const name of mapNames) {
    const { kind, maxEntries } = mapShapes[name]
    if (kind === 'array' && (pins.maxEntries(name) ?? maxEntries) !== maxEntries) removePin(pins.map(name))
  }
}

function removePin(path: string): void {
  if (existsSync(path)) unlinkSync(path)
}

function withMap<Result>(path: string, use: (map: BpfMap) => Result): Result {
  const fd = openPinned(path)
  if (fd === undefined) throw new HeraldError('ERR_SYSCALL', `open ${path}: ENOENT`, { errno: 'ENOENT' })
  try {
    return use(new BpfMap(path, fd))
  } finally {
    closeFd(fd)
  }
}

function copyMap(name: MapName, from: BpfMap, to: BpfMap, conversion: Conversion): void {
  const { kind } = mapShapes[name]
  if (kind === 'memory') copyMemory(from, to, conversion)
  else if (kind === 'array' || kind === 'perCpu') copyArray(from, to, conversion)
  else copyEntries(from, to, conversion)
}

function copyEntries(from: BpfMap, to: BpfMap, conversion: Conversion): void {
  for (const { keys, values, count } of from.batches()) {
    if (conversion === 'same') to.updateBatch(keys, values, count)
    else {
      const converted = [...entriesOf(from, keys, values, count)].flatMap((entry) => {
        const ours = conversion(...entry)
        return ours === undefined ? [] : [ours]
      })
      to.updateBatch(
        inARow(converted.map(([key]) => key)),
        inARow(converted.map(([, value]) => value)),
        converted.length,
      )
    }
  }
}

/** What is there already is newer. */
function addMissing(from: BpfMap, to: BpfMap, conversion: Conversion): void {
  for (const { keys, values, count } of from.batches())
    for (const entry of entriesOf(from, keys, values, count)) {
      const ours = conversion === 'same' ? entry : conversion(...entry)
      if (ours !== undefined) to.add(...ours)
    }
}

function* entriesOf(
  { info: { keySize }, valueBytes }: BpfMap,
  keys: Uint8Array,
  values: Uint8Array,
  count: number,
): Generator<readonly [Uint8Array, Uint8Array]> {
  for (let i = 0; i < count; i++)
    yield [keys.subarray(i * keySize, (i + 1) * keySize), values.subarray(i * valueBytes, (i + 1) * valueBytes)]
}

function copyMemory(from: BpfMap, to: BpfMap, conversion: Conversion): void {
  const [source, target] = [from.mapMemory(), to.mapMemory()]
  try {
    const [theirs, ours] = [new Uint8Array(source.buffer), new Uint8Array(target.buffer)]
    if (conversion === 'same') ours.set(theirs)
    else {
      const { valueSize, maxEntries } = from.info
      for (let i = 0; i < maxEntries; i++) {
        const value = theirs.subarray(i * valueSize, (i + 1) * valueSize)
        if (value.every((octet) => octet === 0)) continue
        const converted = conversion(indexKey(i), value)
        if (converted !== undefined) ours.set(converted[1], i * to.info.valueSize)
      }
    }
  } finally {
    source.unmap()
    target.unmap()
  }
}

/** Octets of an array that are read at once. */
const arrayBatchBytes = 1 << 20

function copyArray(from: BpfMap, to: BpfMap, conversion: Conversion): void {
  let left = Math.min(from.info.maxEntries, to.info.maxEntries)
  for (const { keys, values, count } of from.batches(Math.max(1, Math.floor(arrayBatchBytes / from.valueBytes)))) {
    const copied = Math.min(count, left)
    left -= copied
    if (conversion === 'same') to.updateBatch(keys, values, copied)
    else
      for (const [key, value] of entriesOf(from, keys, values, copied)) {
        const converted = value.every((octet) => octet === 0) ? undefined : conversion(key, value)
        if (converted !== undefined) to.update(...converted)
      }
  }
}
