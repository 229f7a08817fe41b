/**
 * Keeps our programs on the uplinks, and says whether any of them serves.
 *
 *     event of the kernel, slow poll --> look --> uplinks now + those of a moment ago --> attach what changed
 *                                                                  `--> none of them there for a second: not serving
 *
 * A link that is made anew has the programs before its addresses are back. A link that is no uplink any more (its
 * route vanished) keeps them for a minute: absence for a moment changes nothing, and programs do no harm there.
 */
import type { Clock, Wait } from '../clock/clock.ts'
import type { Datapath } from '../datapath/datapath.ts'
import { messageOf } from '../errors.ts'
import type { AgentLog } from './agent-log.ts'
import type { Faults } from './faults.ts'
import type { Link, LinksSeen, Reach } from '../sys/links.ts'
import type { Links } from './links.ts'

export interface UplinkParts {
  readonly datapath: Pick<Datapath, 'status' | 'attach' | 'follow'>
  readonly links: Links
  readonly clock: Clock
  readonly faults: Pick<Faults, 'raise' | 'clear'>
  readonly log: Pick<AgentLog, 'info' | 'warn'>
  /** Also without neighbors and other nodes: clients come for the node's own addresses. */
  readonly areAlwaysNeeded?: boolean
  /** Told whenever it may have changed whether packets for our addresses meet our programs. */
  serving(isServing: boolean): void
}

/** Events tell of changes; this finds what no event told. */
const pollMs = 60_000
/** Programs leave an interface that has not been an uplink for so long. */
const leaveMs = 60_000
/** Without any uplink for so long, nothing is announced: less is a driver that resets, or a bridge made anew. */
const lostMs = 1_000
const retryMs = 500
const retryMaxMs = 30_000
/**
 * A flood of events (a full table of routes) takes at most this part of the loop, after a burst that is taken at once.
 */
const lookShare = 0.05
const burstMs = 100
const leastSpacingMs = 2

export class Uplinks {
  readonly #parts: UplinkParts
  #neighbors: readonly Reach[] = []
  #nodes: readonly Reach[] = []
  /** By name: when it was an uplink last. */
  readonly #lastUplink = new Map<string, number>()
  /** What was attached, with indexes; undefined: try again whatever is seen. */
  #attached: string | undefined
  #failures = 0
  /** Since when no uplink serves. */
  #lostAt: number | undefined
  /** `debtMs`: time of the loop that looks took and that is not yet made up for by idle time. */
  #lastLook = { at: -Infinity, debtMs: 0 }
  #waits = new Map<'look' | 'poll' | 'lost' | 'retry', Wait>()
  #endWatch: (() => void) | undefined

  constructor(parts: UplinkParts) {
    this.#parts = parts
  }

  /** Without a datapath there is nothing to keep. */
  start(): void {
    if (this.#parts.datapath.status.kind === 'none') return
    try {
      this.#endWatch = this.#parts.links.watch(() => this.#changed())
    } catch (error) {
      this.#parts.log.warn(
        { err: error },
        `changes of interfaces are found only every ${pollMs / 1000} s: the kernel tells nothing about them`,
      )
    }
    this.#poll()
    if (this.#parts.areAlwaysNeeded === true) this.#look()
  }

  stop(): void {
    this.#endWatch?.()
    for (const wait of this.#waits.values()) wait.cancel()
    this.#waits.clear()
  }

  /** The neighbors to which uplinks route; looks at once. */
  setNeighbors(neighbors: readonly Reach[]): void {
    this.#neighbors = neighbors
    this.#look()
  }

  /** Some of the other nodes, from which packets come in tunnels, also to a node without neighbors; looks at once. */
  setNodes(nodes: readonly Reach[]): void {
    this.#nodes = nodes
    this.#look()
  }

  #poll(): void {
    this.#after('poll', pollMs, () => {
      // Also when nothing is seen to have changed: somebody may have removed our programs.
      this.#attached = undefined
      this.#look()
      this.#poll()
    })
  }

  #changed(): void {
    if (this.#waits.has('look')) return
    const idleMs = this.#parts.clock.monotonic() - this.#lastLook.at
    const leftMs = Math.max(leastSpacingMs, (this.#lastLook.debtMs - burstMs) / lookShare) - idleMs
    if (leftMs <= 0) this.#look()
    else this.#after('look', leftMs, () => this.#look())
  }

  #look(): void {
    const { clock, links, faults, datapath } = this.#parts
    if (datapath.status.kind === 'none') return
    const ends = [...this.#neighbors, ...this.#nodes]
    if (ends.length === 0 && this.#parts.areAlwaysNeeded !== true) return this.#rest()
    const at = clock.monotonic()
    let seen: LinksSeen
    try {
      seen = links.look(ends)
      faults.clear('links', '')
    } catch (error) {
      faults.raise('links', '', `the interfaces cannot be listed: ${messageOf(error)}`)
      return this.#retry()
    }
    for (const { name } of seen.uplinks) this.#lastUplink.set(name, at)
    for (const [name, last] of this.#lastUplink) if (at - last >= leaveMs) this.#lastUplink.delete(name)
    const wanted = seen.links.filter(({ name }) => this.#lastUplink.has(name))
    this.#attach(wanted, seen.others)
    datapath.follow()
    this.#judge(seen)
    this.#name(seen.strict)
    const endedAt = clock.monotonic()
    const { at: before, debtMs } = this.#lastLook
    const stillMs = debtMs === 0 ? 0 : Math.max(0, debtMs - (at - before) * lookShare)
    this.#lastLook = { at: endedAt, debtMs: stillMs + endedAt - at }
  }

  /** Nothing needs an uplink: nothing is wrong with any. */
  #rest(): void {
    for (const what of ['look', 'lost', 'retry'] as const) this.#cancel(what)
    for (const fault of ['links', 'attach', 'uplink', 'rp-filter']) this.#parts.faults.clear(fault, '')
    this.#lostAt = undefined
    this.#attached = undefined
    this.#failures = 0
  }

  #attach(wanted: readonly Link[], others: readonly Link[]): void {
    const { datapath, faults, log } = this.#parts
    const attached = [...wanted, ...others].map(({ index, name }) => `${index} ${name}`).join()
    if (attached === this.#attached) return
    const before = datapath.status.interfaces.join(' ')
    try {
      datapath.attach(
        wanted.map(({ name }) => name),
        others.map(({ name }) => name),
      )
      this.#attached = attached
      this.#failures = 0
      faults.clear('attach', '')
    } catch (error) {
      this.#attached = undefined
      faults.raise('attach', '', `our programs are not on every uplink: ${messageOf(error)}`)
      this.#retry()
    }
    const { interfaces } = datapath.status
    if (interfaces.join(' ') !== before) log.info({ interfaces }, 'attached to uplinks')
  }

  /** Serving begins at once; it ends when no uplink was there for a while. */
  #judge(seen: LinksSeen): void {
    const { datapath, faults, serving } = this.#parts
    const attached = new Set(datapath.status.interfaces)
    const links = new Set(seen.links.map(({ name }) => name))
    const missing = seen.uplinks.filter(({ name }) => !attached.has(name)).map(({ name }) => name)
    // One that is no uplink for a moment still serves; one that is and has no programs would take packets to nobody.
    if (missing.length === 0 && [...attached].some((name) => links.has(name))) {
      this.#cancel('lost')
      this.#lostAt = undefined
      faults.clear('uplink', '')
      return serving(true)
    }
    const now = this.#parts.clock.monotonic()
    this.#lostAt ??= now
    const leftMs = this.#lostAt + lostMs - now
    // Looked at once more at the end: a busy loop hears of the link that is back only after the timer.
    if (leftMs > 0) return this.#after('lost', leftMs, () => this.#look())
    const why =
      seen.uplinks.length === 0
        ? 'no interface routes to a neighbor or holds the default route'
        : `our programs do not work on ${missing.join(', ') || 'any uplink'}`
    faults.raise('uplink', '', `${why}: packets for announced addresses would not be served, they are withdrawn`)
    serving(false)
  }

  /** Past netfilter nobody asks the kernel about the way back. */
  #name(strict: readonly string[]): void {
    const { datapath, faults } = this.#parts
    if (strict.length === 0 || datapath.status.mode === 'redirect') return faults.clear('rp-filter', '')
    const [names, settings] = [strict.join(', '), strict.map((name) => `net.ipv4.conf.${name}.rp_filter`).join(', ')]
    const what = `of what comes in by ${names} the kernel drops all whose sender is reached by another uplink`
    faults.raise('rp-filter', '', `${what}, as packets of clients that other nodes hand on: set ${settings} to 2`)
  }

  #retry(): void {
    const waitMs = Math.min(retryMs * 2 ** this.#failures++, retryMaxMs)
    this.#after('retry', waitMs, () => this.#look())
  }

  #after(what: 'look' | 'poll' | 'lost' | 'retry', ms: number, action: () => void): void {
    this.#cancel(what)
    const wait = this.#parts.clock.after(ms, () => {
      this.#waits.delete(what)
      action()
    })
    this.#waits.set(what, wait)
  }

  #cancel(what: 'look' | 'poll' | 'lost' | 'retry'): void {
    this.#waits.get(what)?.cancel()
    this.#waits.delete(what)
  }
}
