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
import type { AcceleratedInterface, Acceleration, AccelerationStatus, DatapathProblem } from './datapath.ts'
import { mapNames, mapShapes } from './layout.ts'
import { indexKey } from './maps.ts'
import type { Pins } from './pins.ts'
import { isBefore, namedRefusal } from './refusal.ts'

const earlyProgram = 'herald_xdp'
/** `enum station_flags` in bpf/xdp.bpf.c. */
const stationAnswers = 1
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
}

type Carrier = Omit<AcceleratedInterface, 'interface'> & { readonly name: string; readonly failures: number }

export class Accelerator {
  readonly #parts: AccelerationParts
  #loaded: Loaded | undefined
  /** Why nothing is loaded although it is asked for. */
  readonly #refusal: string | undefined
  readonly #carriers = new Map<number, Carrier>()

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
    const interfaces = [...this.#carriers.values()]
      .map(({ name, mode, reason }) => ({ interface: name, mode, ...(reason === undefined ? {} : { reason }) }))
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
    for (const [ifindex, { name, mode }] of this.#carriers) if (mode !== 'none') this.#tellStation(ifindex, name)
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
      const reason = this.#put(ifindex, name)
      this.#carriers.set(ifindex, { name, mode: this.#mode, failures: 0, ...(reason === undefined ? {} : { reason }) })
    } catch (error) {
      const reason = messageOf(error)
      for (const mode of ['native', 'generic'] as const) this.#takeOff(ifindex, mode)
      this.#carriers.set(ifindex, { name, mode: 'none', reason, failures: (before?.failures ?? 0) + 1 })
      if (before?.reason !== reason) this.#parts.log(`${name} is not accelerated: ${reason}`)
    }
  }

  /** Answers with what is left to TC all the same. Throws why it cannot be. */
  #put(ifindex: number, name: string): string | undefined {
    if (this.#loaded === undefined) throw new HeraldError('ERR_ATTACH', this.#refusal ?? '')
    const { pins } = this.#parts
    const { program } = this.#loaded
    const reason = this.#tellStation(ifindex, name)
    this.#takeOff(ifindex, this.#mode === 'native' ? 'generic' : 'native')
    const path = pins.xdpLink(ifindex, this.#mode)
    const isThere = pins.withLink(path, (link) => {
      if (xdpLinkInterface(link) !== ifindex) return false
      if (linkProgramId(link) !== programInfo(program).id) updateLink(link, program)
      return true
    })
    if (isThere === true) {
      pins.keepLink(path)
      return reason
    }
    pins.dropLink(path)
    const [foreign] = xdpProgramIds(ifindex)
    if (foreign !== undefined) throw new HeraldError('ERR_ATTACH', foreignReason(foreign))
    this.#link(ifindex, program, path)
    return reason
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

  /** Answers with what is left to TC. Never throws: of a station that is not known everything passes. */
  #tellStation(ifindex: number, name: string): string | undefined {
    const driver = driverNamed(name)
    try {
      const left = this.#leftOf(name, driver)
      // A program of a bond runs at its members, and is told their indexes.
      const carriers =
        driver === 'bonding' ? listLinks().filter(({ master }) => master === ifindex) : [{ index: ifindex }]
      for (const { index } of carriers) this.#putStation(index, left === undefined ? stationAnswers : 0)
      return left
    } catch (error) {
      this.#loaded?.stations.delete(indexKey(ifindex))
      return `everything passes to TC: ${messageOf(error)}`
    }
  }

  #putStation(ifindex: number, flags: number): void {
    const address = stationAddress(ifindex)
    if (this.#loaded === undefined || address === undefined) return
    const record = new Uint8Array(8)
    record.set(address)
    record[6] = flags
    this.#loaded.stations.update(indexKey(ifindex), record)
  }

  /** Why it answers nothing at an interface; undefined: it does. */
  #leftOf(name: string, driver: string): string | undefined {
    if (driver === 'bonding')
      return `${echoLeft}a bond does not listen to each of its members, and which are heard is not seen from here`
    if (stripsTags(name)) return `${echoLeft}${name} takes tags of VLANs from frames (ethtool -K ${name} rxvlan off)`
    if (this.#parts.wanted === 'best-effort' && driver === 'veth')
      return `${echoLeft}a veth sends nothing back unless its other end has XDP too, which is not seen from here`
    return undefined
  }

  #forget(ifindex: number): void {
    this.#carriers.delete(ifindex)
    this.#loaded?.stations.delete(indexKey(ifindex))
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

const echoLeft = 'echo requests are left to TC: '
const foreignReason = (id: number): string => `program ${programName(id)} (id ${id}) of somebody else is there`
const linkText = (ifindex: number, mode: XdpMode): string => `XDP link of interface ${ifindex} (${mode})`

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
    return { object, program: object.programFd(earlyProgram), stations: object.openMap('stations') }
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
