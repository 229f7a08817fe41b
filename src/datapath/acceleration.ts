/**
 * herald_xdp in front of the programs of TC, on the interfaces that carry those (ADR 25):
 *
 *     asked for --load--> program over the pinned maps --link--> each uplink that takes it
 *                  |                                    '--> not this one: why, and TC serves there as ever
 *                  '--> not on this kernel: why, and no link of an earlier process stays
 *
 * It decides nothing that TC would not decide in the same way, so that whatever fails here costs speed alone. What must
 * not be is a program over maps that nobody writes any more: it goes where it cannot be replaced.
 */
import { HeraldError, messageOf } from '../errors.ts'
import { detachLink, linkProgramId, updateLink } from '../sys/bpf-attach.ts'
import { type BpfMap, BpfObject, pin, programInfo, programName } from '../sys/bpf.ts'
import { makeFolder } from '../sys/folder.ts'
import { listLinks, stationAddress } from '../sys/links.ts'
import { createXdpLink, driverOf, stripsTags, type XdpMode, xdpLinkInterface, xdpProgramIds } from '../sys/xdp.ts'
import type {
  AcceleratedInterface,
  Acceleration,
  AccelerationStatus,
  DatapathProblem,
  EarlyKind,
  EarlyPackets,
} from './datapath.ts'
import { mapNames, mapShapes } from './layout.ts'
import { indexKey } from './maps.ts'
import type { Pins } from './pins.ts'
import { isBefore, namedRefusal } from './refusal.ts'

const earlyProgram = 'herald_xdp'
/** `enum station_flags` in bpf/xdp.bpf.c: what is done at an interface besides drops, and what it is to people. */
const stationFlags = { answered: 1, handedOn: 2 } as const
type StationFlag = keyof typeof stationFlags
const flagTexts: Readonly<Record<StationFlag, string>> = {
  answered: 'echo requests',
  handedOn: 'packets for other nodes',
}
/** `enum done` there. */
const doneNames = ['handedOn', 'answered', 'dropped'] as const
/** The first Linux with `bpf_xdp_load_bytes`. */
const leastKernel = [5, 18] as const
/**
 * From here on the kernel moves a packet that is shared, or has little room in front, for a program that no driver
 * runs, and forgets how long its Ethernet header is (`mac_len`, in `skb_pp_cow_data`): programs of TC see none.
 */
const blindingKernel = [6, 9] as const

export interface AccelerationParts {
  readonly wanted: Acceleration
  /** The compiled program: build/bpf/xdp.bpf.o. */
  readonly objectFile: string
  readonly pins: Pins
  /** The version of the kernel, for people. */
  readonly release: string
  readonly log: (message: string) => void
}

interface Loaded {
  readonly object: BpfObject
  readonly program: number
  readonly stations: BpfMap
  /** What was done at an interface, by its index. */
  readonly done: BpfMap
}

/** What is done at an interface, and why not all of it. */
interface Station {
  readonly takes: EarlyKind[]
  readonly reason?: string
}

/** What is not done at an interface. */
interface Left {
  readonly flags: readonly StationFlag[]
  readonly why: string
}

type Carrier = Omit<AcceleratedInterface, 'interface' | 'packets'> & {
  readonly name: string
  readonly failures: number
}

export class Accelerator {
  readonly #parts: AccelerationParts
  #loaded: Loaded | undefined
  /** Why nothing is loaded although it is asked for. */
  readonly #refusal: string | undefined
  readonly #carriers = new Map<number, Carrier>()
  /** The indexes that the program of an interface is told: that of a bond runs at its members. */
  readonly #runsAt = new Map<number, readonly number[]>()

  /** Once the pinned maps are those that serve. Never throws: whatever it cannot have it says. */
  constructor(parts: AccelerationParts) {
    this.#parts = parts
    if (parts.wanted !== 'disabled')
      try {
        this.#loaded = load(parts)
      } catch (error) {
        this.#refusal = messageOf(error).split('\n')[0] ?? ''
        parts.log(`nothing is accelerated: ${messageOf(error)}`)
      }
    try {
      this.#adopt()
    } catch (error) {
      // The next call of attach has them again.
      parts.log(`programs of XDP are not replaced yet: ${messageOf(error)}`)
    }
  }

  /** For test runs. */
  get program(): number | undefined {
    return this.#loaded?.program
  }

  get status(): AccelerationStatus | undefined {
    const { wanted } = this.#parts
    if (wanted === 'disabled') return undefined
    const interfaces = [...this.#carriers]
      .map(([ifindex, { name, mode, reason, takes }]) => {
        const packets = mode === 'none' ? {} : { packets: this.#doneAt(ifindex), ...(takes && { takes }) }
        return { interface: name, mode, ...packets, ...(reason === undefined ? {} : { reason }) }
      })
      .sort((a, b) => (a.interface < b.interface ? -1 : 1))
    return { wanted, interfaces, ...(this.#refusal === undefined ? {} : { problem: this.#refusal }) }
  }

  /** Where it is asked for by name; `best-effort` takes what there is. */
  get problems(): readonly DatapathProblem[] {
    const { wanted } = this.#parts
    if (wanted === 'disabled' || wanted === 'best-effort') return []
    const what = (text: string): string => `--lb-acceleration ${wanted}: ${text}; TC serves there all the same`
    return [...this.#carriers.values()].flatMap(({ name, mode, reason = '', failures }) =>
      mode === 'none' ? { kind: 'acceleration', subject: name, text: what(reason), times: failures } : [],
    )
  }

  /** Exactly where our programs of TC are: the names of interfaces by index. */
  attach(held: ReadonlyMap<number, string>): void {
    for (const { ifindex, mode } of this.#parts.pins.xdpLinks()) if (!held.has(ifindex)) this.#takeOff(ifindex, mode)
    for (const ifindex of [...this.#carriers.keys()]) if (!held.has(ifindex)) this.#forget(ifindex)
    if (this.#parts.wanted === 'disabled') return
    for (const [ifindex, name] of held) this.#judge(ifindex, name)
  }

  /** Addresses of interfaces may have changed. Never throws. */
  follow(): void {
    for (const [ifindex, { name, mode, failures }] of this.#carriers)
      if (mode !== 'none') this.#carriers.set(ifindex, { name, mode, failures, ...this.#tellStation(ifindex, name) })
  }

  close(): void {
    this.#loaded?.object.close()
    this.#loaded = undefined
  }

  /** What an earlier process left, before maps that it knows are let go of. */
  #adopt(): void {
    const { pins, log, wanted } = this.#parts
    const links = pins.xdpLinks()
    if (links.length === 0) return
    const names = new Map(listLinks().map(({ index, name }) => [index, name]))
    for (const { ifindex, mode } of links) {
      const name = names.get(ifindex)
      if (name !== undefined && mode === this.#mode && wanted !== 'disabled') this.#judge(ifindex, name)
      if (this.#carriers.get(ifindex)?.mode === mode) log(`replaced the program of XDP on ${name} (${mode})`)
      else this.#takeOff(ifindex, mode)
    }
  }

  get #mode(): XdpMode {
    return this.#parts.wanted === 'generic' ? 'generic' : 'native'
  }

  #judge(ifindex: number, name: string): void {
    const before = this.#carriers.get(ifindex)
    try {
      this.#carriers.set(ifindex, { name, mode: this.#mode, failures: 0, ...this.#put(ifindex, name) })
    } catch (error) {
      const reason = messageOf(error)
      for (const mode of ['native', 'generic'] as const) this.#takeOff(ifindex, mode)
      this.#carriers.set(ifindex, { name, mode: 'none', reason, failures: (before?.failures ?? 0) + 1 })
      if (before?.reason !== reason) this.#parts.log(`${name} is not accelerated: ${reason}`)
    }
  }

  /** Throws why it cannot be. */
  #put(ifindex: number, name: string): Station {
    if (this.#loaded === undefined) throw new HeraldError('ERR_ATTACH', this.#refusal ?? '')
    const { pins } = this.#parts
    const { program } = this.#loaded
    const station = this.#tellStation(ifindex, name)
    this.#takeOff(ifindex, this.#mode === 'native' ? 'generic' : 'native')
    const path = pins.xdpLink(ifindex, this.#mode)
    const isThere = pins.withLink(path, (link) => {
      if (xdpLinkInterface(link) !== ifindex) return false
      if (linkProgramId(link) !== programInfo(program).id) updateLink(link, program)
      return true
    })
    if (isThere === true) {
      pins.keepLink(path)
      return station
    }
    pins.dropLink(path)
    const [foreign] = xdpProgramIds(ifindex)
    if (foreign !== undefined) throw new HeraldError('ERR_ATTACH', foreignReason(foreign))
    this.#link(ifindex, program, path)
    return station
  }

  #link(ifindex: number, program: number, path: string): void {
    let link: number
    try {
      link = createXdpLink(program, ifindex, this.#mode)
    } catch (error) {
      throw refusalOf(error, ifindex)
    }
    const { pins } = this.#parts
    pins.keepLink(path, link)
    try {
      makeFolder(pins.xdp, 0o700)
      pin(link, path)
    } catch (error) {
      pins.dropLink(path)
      throw error
    }
  }

  /** Never throws: of a station that is not known everything passes. */
  #tellStation(ifindex: number, name: string): Station {
    const driver = driverNamed(name)
    try {
      const left = this.#leftOf(name, driver)
      const taken = new Set(left.flatMap(({ flags }) => flags))
      const does = (Object.keys(stationFlags) as StationFlag[]).filter((flag) => !taken.has(flag))
      const flags = does.reduce((all, flag) => all | stationFlags[flag], 0)
      const runsAt = driver === 'bonding' ? membersOf(ifindex) : [ifindex]
      this.#runsAt.set(ifindex, runsAt)
      for (const index of runsAt) this.#putStation(index, flags)
      return { takes: [...does, 'dropped'], ...(left.length === 0 ? {} : { reason: left.map(leftText).join('; ') }) }
    } catch (error) {
      this.#loaded?.stations.delete(indexKey(ifindex))
      return { takes: [], reason: `everything passes to TC: ${messageOf(error)}` }
    }
  }

  #putStation(ifindex: number, flags: number): void {
    const address = stationAddress(ifindex)
    if (this.#loaded === undefined || address === undefined) return
    const { stations, done } = this.#loaded
    const record = new Uint8Array(8)
    record.set(address)
    record[6] = flags
    stations.update(indexKey(ifindex), record)
    done.add(indexKey(ifindex), new Uint8Array(done.valueBytes))
  }

  /** Since this process has put the program there. */
  #doneAt(ifindex: number): EarlyPackets {
    const counts = { handedOn: 0, answered: 0, dropped: 0 }
    const done = this.#loaded?.done
    if (done === undefined) return counts
    const value = new BigUint64Array(done.valueBytes / 8)
    for (const index of this.#runsAt.get(ifindex) ?? [])
      if (done.lookup(indexKey(index), new Uint8Array(value.buffer)))
        for (const [at, packets] of value.entries())
          counts[doneNames[at % doneNames.length] ?? 'dropped'] += Number(packets)
    return counts
  }

  /** Why something is not done at an interface. */
  #leftOf(name: string, driver: string): readonly Left[] {
    const all = ['answered', 'handedOn'] as const
    if (driver === 'bonding')
      return [
        { flags: all, why: 'a bond does not listen to each of its members, and which are heard is not seen from here' },
      ]
    if (this.#parts.wanted === 'best-effort' && driver === 'veth')
      return [
        { flags: all, why: 'a veth sends nothing back unless its other end has XDP too, which is not seen from here' },
      ]
    const left: Left[] = []
    if (this.#mode === 'generic')
      left.push({
        flags: ['handedOn'],
        why: 'generic XDP is shown merged packets, and what it sends nobody divides again',
      })
    if (stripsTags(name))
      left.push({ flags: ['answered'], why: `${name} takes tags of VLANs from frames (ethtool -K ${name} rxvlan off)` })
    return left
  }

  #forget(ifindex: number): void {
    this.#carriers.delete(ifindex)
    this.#runsAt.delete(ifindex)
    this.#loaded?.stations.delete(indexKey(ifindex))
    this.#loaded?.done.delete(indexKey(ifindex))
  }

  #takeOff(ifindex: number, mode: XdpMode): void {
    const { pins, log } = this.#parts
    try {
      if (detachXdpLink(pins, ifindex, mode)) log(`removed ${linkText(ifindex, mode)}`)
    } catch (error) {
      log(`${linkText(ifindex, mode)} is not removed yet: ${messageOf(error)}`)
    }
  }
}

const leftText = ({ flags, why }: Left): string =>
  `${flags.map((flag) => flagTexts[flag]).join(' and ')} are left to TC: ${why}`
const foreignReason = (id: number): string => `program ${programName(id)} (id ${id}) of somebody else is there`
const linkText = (ifindex: number, mode: XdpMode): string => `XDP link of interface ${ifindex} (${mode})`

const membersOf = (bond: number): readonly number[] =>
  listLinks().flatMap(({ index, master }) => (master === bond ? [index] : []))

/** Empty: not told. */
function driverNamed(name: string): string {
  try {
    return driverOf(name)
  } catch {
    return ''
  }
}

/** The words of the kernel, and what they mean here; someone may have been faster than the look before. */
function refusalOf(error: unknown, ifindex: number): unknown {
  if (!(error instanceof HeraldError)) return error
  const [foreign] = error.errno === 'EBUSY' || error.errno === 'EEXIST' ? xdpProgramIds(ifindex) : []
  if (foreign !== undefined) return new HeraldError('ERR_ATTACH', foreignReason(foreign))
  if (error.errno === 'EOPNOTSUPP') return new HeraldError('ERR_ATTACH', 'its driver takes no XDP program (EOPNOTSUPP)')
  return new HeraldError('ERR_ATTACH', `its driver refuses the program: ${error.message}`)
}

/** Throws what the kernel has against it, ERR_BPF_OBJECT_MISSING included. */
function load({ wanted, objectFile, pins, release }: AccelerationParts): Loaded {
  if (wanted === 'generic' && !isBefore(release, blindingKernel))
    throw new HeraldError('ERR_ATTACH', `Linux ${release} hides from TC the headers of what generic XDP has passed on`)
  const object = new BpfObject(objectFile)
  try {
    for (const name of mapNames) {
      const entries = pins.maxEntries(name)
      if (mapShapes[name].kind !== 'array' && entries !== undefined) object.setMaxEntries(name, entries)
      object.setPinPath(name, pins.map(name))
    }
    object.load()
    const [stations, done] = [object.openMap('stations'), object.openMap('done_at')]
    return { object, program: object.programFd(earlyProgram), stations, done }
  } catch (error) {
    object.close()
    throw namedRefusal(error, release, leastKernel)
  }
}

/** Ends a link of ours, also of an interface that is gone; false when there is none. */
function detachXdpLink(pins: Pins, ifindex: number, mode: XdpMode): boolean {
  const path = pins.xdpLink(ifindex, mode)
  const isThere = pins.withLink(path, (link) => {
    detachLink(link)
    return true
  })
  pins.dropLink(path)
  return isThere === true
}

/** From every interface on which a process left it; answers with what was removed. */
export function detachAllXdp(pins: Pins): string[] {
  return pins.xdpLinks().flatMap(({ ifindex, mode }) => {
    return detachXdpLink(pins, ifindex, mode) ? [linkText(ifindex, mode)] : []
  })
}
