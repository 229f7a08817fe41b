/**
 * Which flows of this node go past netfilter (bpf/redirect.h), and why others do not.
 *
 *     backends here --route--> their interfaces --herald_pod--> `links`: pods are behind them, new flows may begin
 *     uplinks ------------------------------------------------> `links`: replies leave by them, in every mode
 *
 * A packet is redirected only between interfaces that stand in `links`, and the kernel's own tables say which ones it
 * is between: one that is gone, or made anew, is found by no packet, and its flows go through the stack until it is
 * here again. So nothing here fails for anybody: what cannot be redirected is not.
 */
import { readFileSync } from 'node:fs'
import { messageOf } from '../errors.ts'
import type { Backend } from '../desired/model.ts'
import type { Net } from '../sys/filter-rules.ts'
import { netsBeside } from '../sys/inner-nets.ts'
import { interfacesTo, isStrict, listLinks, type Link } from '../sys/links.ts'
import type { AttachMode, ForwardMode, Netfilter } from './datapath.ts'
import { indexKey, indexOf, type MapStore } from './maps.ts'
import type { Pins } from './pins.ts'
import { attachPods, detachAllPods, detachPods, foreignAtIngress, podCarriers, putPodProgram } from './pod-carriers.ts'

export type WantedMode = ForwardMode | 'auto'

/** `enum link_flags` */
const flagsOf = { uplink: 1, toPods: 2, opens: 4, closed: 8 } as const
const attachModes: readonly AttachMode[] = ['tcx', 'clsact']
/** In a reason for people. */
const mostNamed = 3
/**
 * In mode `auto` new flows may go past netfilter for so long after it was looked at: an upgrade of the agent takes
 * less, and what comes meanwhile is not passed by for longer.
 */
export const permitSec = 300
const forever = 0xffff_ffff_ffff_ffffn
/** Of so many pods that were backends rules are asked, too. */
const mostFormer = 512
/** The kernel gives it to the loopback of every network. */
const loopback = 1
/** Whether bridges show netfilter what comes in by a port of theirs. */
const showsOfBridges = { ipv4: 'bridge/bridge-nf-call-iptables', ipv6: 'bridge/bridge-nf-call-ip6tables' } as const

export interface RedirectionParts {
  readonly wanted: WantedMode
  readonly pins: Pins
  readonly attach: AttachMode
  /** For people: why nothing is redirected here whatever was asked for; undefined: it can be. */
  readonly refusal: string | undefined
  /** herald_pod, loaded. */
  readonly program: number
  /** The id of the program at ingress of uplinks. */
  readonly ingressId: number
  /** The map of this name. */
  readonly links: MapStore
  /** The map of this name. */
  readonly permit: DataView
  /** CLOCK_MONOTONIC. */
  readonly nowNs: () => bigint
  readonly netfilter: Netfilter
  readonly log: (message: string) => void
}

/** undefined: the kernel has no such setting, or none any more. */
function settingOf(path: string): number | undefined {
  try {
    return Number(readFileSync(`/proc/sys/net/${path}`, 'latin1'))
  } catch {
    return undefined
  }
}

/** A rule that comes later takes live connections to the stack, in their middle. */
function looseHindrance(): string | undefined {
  if (settingOf('netfilter/nf_conntrack_tcp_loose') !== 0) return undefined
  return 'net.netfilter.nf_conntrack_tcp_loose is 0: a connection could not leave for the stack any more'
}

/** What cannot be seen is in the way. */
function seen(look: () => string | undefined): string | undefined {
  try {
    return look()
  } catch (error) {
    return unseen(error)
  }
}

const unseen = (error: unknown): string => `it cannot be seen what netfilter does: ${messageOf(error)}`

export class Redirection {
  readonly #parts: RedirectionParts
  /** Of backends here, by the id of their frontend. */
  readonly #addresses = new Map<string, readonly string[]>()
  /** Addresses whose route was looked up, since it may have changed. */
  readonly #lookedUp = new Set<string>()
  /** Those of them that are behind interfaces to pods, with these; also pods that were backends: see #forgetOldest. */
  readonly #pods = new Map<string, readonly number[]>()
  /** Behind which no client is. */
  #elsewhere: readonly Net[] = []
  /** By index: those that carry herald_pod. */
  readonly #held = new Map<number, string>()
  /** By name: why not. */
  readonly #refused = new Map<string, string>()
  /** undefined until it was said which ones they are. */
  #uplinks: ReadonlyMap<number, string> | undefined
  /** What flows would miss: live ones leave, too. Of any flow, then of those to pods that are here. */
  #policy: string | undefined
  #rule: string | undefined
  /** Why live flows could not be taken to the stack: they stay as they are, and new ones begin there. */
  #hindrance: string | undefined
  /** What would be done to flows that begin, and to no other. */
  #translation: string | undefined
  /** What on an uplink would see nothing of redirected packets. */
  #observer: string | undefined
  #failure: string | undefined

  /** Takes over what an earlier process left, or takes it away where nothing is redirected any more. */
  constructor(parts: RedirectionParts) {
    this.#parts = parts
    const { wanted, pins, attach, program, log } = parts
    if (wanted === 'stack') {
      // Requests first: a flow whose replies alone are redirected is as good as before.
      this.#write(new Map())
      for (const mode of attachModes)
        for (const ifindex of detachAllPods(pins, mode))
          log(`replies of pods go through the stack: interface ${ifindex}`)
      return
    }
    // Of an earlier process that was asked for it by name it may be for ever.
    if (wanted === 'auto') this.#permitUntil(parts.permit.getBigUint64(0, true))
    const names = new Map(listLinks().map(({ index, name }) => [index, name]))
    for (const mode of attachModes)
      for (const ifindex of podCarriers(pins, mode)) {
        putPodProgram(pins, attach, ifindex, program)
        if (mode !== attach) detachPods(pins, mode, ifindex)
        this.#held.set(ifindex, names.get(ifindex) ?? String(ifindex))
      }
  }

  get mode(): ForwardMode {
    return this.#parts.wanted === 'stack' || this.#obstacle !== undefined ? 'stack' : 'redirect'
  }

  /** undefined: what was asked for is in force everywhere. */
  get reason(): string | undefined {
    const known = this.#parts.refusal ?? this.#obstacle
    if (known !== undefined || this.#parts.wanted === 'stack') return known
    if (this.#failure !== undefined) return this.#failure
    if (this.#refused.size === 0) return undefined
    const named = [...this.#refused.values()].sort().slice(0, mostNamed)
    const more = this.#refused.size - named.length
    return `through the stack: ${named.join('; ')}${more > 0 ? `; and ${more} more` : ''}`
  }

  get #missed(): string | undefined {
    return this.#policy ?? this.#rule
  }

  /** Why new flows go through the stack; undefined: they do not. */
  get #obstacle(): string | undefined {
    return this.#missed ?? this.#hindrance ?? this.#translation
  }

  /** The backends of a frontend, of which those count that are here. */
  serve(id: string, backends: readonly Pick<Backend, 'address' | 'node'>[]): void {
    if (this.#parts.wanted === 'stack') return
    const here = backends.filter(({ node }) => node === undefined).map(({ address }) => address)
    this.#addresses.set(id, here)
    if (
      this.#obstacle === undefined &&
      this.#uplinks !== undefined &&
      here.some((address) => !this.#lookedUp.has(address))
    )
      this.#attempt(() => {
        const reached = this.#reach(here)
        this.#askForRules(here.filter((address) => this.#pods.has(address)))
        const found = reached.filter((ifindex) => !this.#held.has(ifindex))
        if (this.#obstacle !== undefined) this.#close(this.#obstacle)
        else if (found.length > 0) this.#carry(found, false)
      })
  }

  forget(id: string): void {
    this.#addresses.delete(id)
  }

  /** A pod has come with which netfilter does something. */
  #close(obstacle: string): void {
    this.#parts.log(`flows go through the stack: ${obstacle}`)
    this.#write(this.#flags())
    this.#permit()
  }

  /** Looks again at what other programs are on all of the interfaces, then at everything else. */
  judge(uplinks: ReadonlyMap<number, string>): void {
    if (this.#parts.wanted === 'auto') this.#observer = this.#observerOf(uplinks)
    this.#follow(uplinks, true)
  }

  /** Interfaces, routes or rules of netfilter may have changed. */
  follow(uplinks: ReadonlyMap<number, string>): void {
    this.#follow(uplinks, false)
  }

  #follow(uplinks: ReadonlyMap<number, string>, isThorough: boolean): void {
    const { wanted, log } = this.#parts
    this.#uplinks = uplinks
    // Also there it counts by which interfaces replies leave: see is_answered_by_uplink of bpf/redirect.h.
    if (wanted === 'stack') return this.#attempt(() => this.#write(this.#flags()))
    const before = this.#obstacle
    if (wanted === 'auto') {
      this.#policy = seen(() => this.#parts.netfilter.policies()) ?? this.#observer
      this.#hindrance = looseHindrance()
    }
    this.#lookedUp.clear()
    this.#refused.clear()
    this.#attempt(() => {
      const mayReach = this.#policy === undefined
      const reached = mayReach ? this.#reach([...this.#addresses.values()].flat()) : []
      if (mayReach && wanted === 'auto') {
        this.#forgetOldest()
        this.#elsewhere = netsBeside(new Set(uplinks.keys()))
        this.#askForRules()
      }
      const now = this.#obstacle
      if (now !== before) log(now === undefined ? 'flows may go past netfilter' : `flows go through the stack: ${now}`)
      // Where they go through the stack every packet of a pod would meet the program, and none would be redirected.
      // While a pod drains it is no backend any more: what carries the program keeps it.
      this.#carry(new Set([...this.#held.keys(), ...(now === undefined ? reached : [])]), isThorough)
      this.#permit()
    })
  }

  /** Of those that are no backends any more, and may have flows: until their interface is gone, or there are many. */
  #forgetOldest(): void {
    const former = this.#former
    const dead = former.filter((address) => !this.#pods.get(address)?.some((each) => this.#held.has(each)))
    for (const address of [...dead, ...former.slice(0, -mostFormer)]) this.#pods.delete(address)
  }

  get #former(): readonly string[] {
    const here = new Set([...this.#addresses.values()].flat())
    return [...this.#pods.keys()].filter((address) => !here.has(address))
  }

  /** Whether rules are about what goes to pods and back. */
  #askForRules(fresh?: readonly string[]): void {
    const { wanted, netfilter } = this.#parts
    if (wanted !== 'auto') return
    const links = listLinks()
    const names = new Map(links.map((link) => [link.index, link]))
    const masters = new Set(links.map(({ master }) => master))
    const named = (ifindex: number): readonly string[] => {
      const link = names.get(ifindex)
      const master = link?.master === undefined ? undefined : names.get(link.master)
      // What comes in by a port of a bridge is of the bridge to netfilter.
      return [link, master].flatMap((each) => (each === undefined ? [] : [each.name]))
    }
    const traffic = {
      pods: new Map([...this.#pods].map(([address, indexes]) => [address, indexes.flatMap(named)])),
      former: new Set(this.#former),
      shown: this.#behind(masters),
      uplinks: [...(this.#uplinks?.keys() ?? [])].flatMap(named),
      elsewhere: this.#elsewhere,
    }
    try {
      const met = netfilter.rules(traffic, fresh)
      this.#rule = met.policy
      this.#translation = met.translation
    } catch (error) {
      this.#rule = unseen(error)
    }
  }

  /** Pods whose packets come by one of these, where it shows them to netfilter. */
  #behind(masters: ReadonlySet<number | undefined>): ReadonlySet<string> {
    const shows = { ipv4: settingOf(showsOfBridges.ipv4) === 1, ipv6: settingOf(showsOfBridges.ipv6) === 1 }
    const found = [...this.#pods].filter(
      ([pod, indexes]) => shows[pod.includes(':') ? 'ipv6' : 'ipv4'] && indexes.some((each) => masters.has(each)),
    )
    return new Set(found.map(([pod]) => pod))
  }

  #permit(): void {
    this.#permitUntil(this.#obstacle === undefined ? forever : 0n)
  }

  /** What was asked for by name does not depend on anybody who looks. */
  #permitUntil(wantedNs: bigint): void {
    const { wanted, permit, nowNs } = this.#parts
    const mostNs = wanted === 'redirect' ? forever : nowNs() + BigInt(permitSec) * 1_000_000_000n
    permit.setBigUint64(0, wantedNs < mostNs ? wantedNs : mostNs, true)
  }

  #observerOf(uplinks: ReadonlyMap<number, string>): string | undefined {
    for (const [ifindex, name] of uplinks) {
      const theirs = foreignAtIngress(ifindex, this.#parts.ingressId)
      if (theirs !== undefined) return `${theirs} at ingress of ${name} would see nothing of these packets`
    }
    // Of one uplink the way back to the client, which is asked for, leads to that one.
    const strict = uplinks.size > 1 ? [...uplinks.values()].find(isStrict) : undefined
    return (
      strict && `rp_filter of ${strict} is 1 (strict), and would not be asked which of ${uplinks.size} uplinks it is`
    )
  }

  #attempt(change: () => void): void {
    const before = this.#failure
    try {
      change()
      this.#failure = undefined
    } catch (error) {
      this.#failure = `not everything is redirected: ${messageOf(error)}`
    }
    if (this.#failure !== undefined && this.#failure !== before) this.#parts.log(this.#failure)
  }

  /** The interfaces behind which these addresses are, but for those that were looked up before. */
  #reach(addresses: readonly string[]): readonly number[] {
    const unknown = new Set(addresses.filter((address) => !this.#lookedUp.has(address)))
    return [...unknown].flatMap((address) => {
      const interfaces = interfacesTo(address)
      this.#lookedUp.add(address)
      const toPod = interfaces.filter((each) => each !== loopback && this.#uplinks?.has(each) !== true)
      this.#pods.delete(address)
      if (toPod.length > 0) this.#pods.set(address, toPod)
      return interfaces
    })
  }

  #carry(interfaces: Iterable<number>, isThorough: boolean): void {
    const links = new Map(listLinks().map((link) => [link.index, link]))
    const leaving = this.#take(interfaces, links, isThorough)
    this.#write(this.#flags())
    // Only now: a request is redirected only where its reply is.
    for (const ifindex of leaving) detachPods(this.#parts.pins, this.#parts.attach, ifindex)
  }

  /**
   * Each of them carries the program from here on; answers with those that must not any more. Only when it `isThorough`
   * those are looked at that do already: there may be hundreds, and an event tells of one.
   */
  #take(interfaces: Iterable<number>, links: ReadonlyMap<number, Link>, isThorough: boolean): readonly number[] {
    const { pins, attach, program, log } = this.#parts
    const leaving: number[] = []
    for (const ifindex of interfaces) {
      const link = links.get(ifindex)
      const isHeld = this.#held.has(ifindex)
      try {
        // Of the node itself, or behind an uplink, where its packets meet the other programs.
        if (link === undefined || link.name === 'lo' || this.#uplinks?.has(ifindex) === true) {
          if (this.#held.delete(ifindex)) leaving.push(ifindex)
          continue
        }
        if (isHeld && !isThorough) continue
        attachPods(pins, attach, link, program)
        this.#held.set(ifindex, link.name)
        if (!isHeld) log(`flows to pods behind ${link.name} may go past netfilter`)
      } catch (error) {
        if (this.#held.delete(ifindex)) leaving.push(ifindex)
        if (link !== undefined) this.#refused.set(link.name, messageOf(error))
      }
    }
    return leaving
  }

  #flags(): ReadonlyMap<number, number> {
    const uplinks = this.#missed === undefined ? 0 : flagsOf.closed
    const pods = this.#obstacle === undefined ? flagsOf.opens : uplinks
    return new Map([
      ...[...this.#held.keys()].map((ifindex) => [ifindex, flagsOf.toPods | pods] as const),
      ...[...(this.#uplinks?.keys() ?? [])].map((ifindex) => [ifindex, flagsOf.uplink | uplinks] as const),
    ])
  }

  /** Whatever the map holds: somebody else may have written there. */
  #write(wanted: ReadonlyMap<number, number>): void {
    const { links } = this.#parts
    const held = new Map([...links.entries()].map(([key, value]) => [indexOf(key), indexOf(value)]))
    for (const ifindex of held.keys()) if (!wanted.has(ifindex)) links.delete(indexKey(ifindex))
    for (const [ifindex, flags] of wanted)
      if (held.get(ifindex) !== flags) links.put(indexKey(ifindex), indexKey(flags))
  }
}
