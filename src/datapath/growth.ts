/**
 * Maps that fill are made larger before they are full. A map that cannot be is a problem, which is said and counted,
 * and tried again after a while.
 */
import { HeraldError, messageOf } from '../errors.ts'
import type { DatapathProblem, MapUsage } from './datapath.ts'
import type { MapName } from './layout.ts'

/** A map that is so full is made larger; one that refused an entry already when half full (a table needs a stretch). */
const fillToGrow = 3 / 4
const fillAfterRefusal = 1 / 2
const retryMs = 60_000

export class Growth {
  readonly #mostEntries: (name: MapName) => number
  readonly #log: (message: string) => void
  readonly #nowMs: () => number
  readonly #problems = new Map<string, DatapathProblem & { readonly atMs: number }>()

  constructor(mostEntries: (name: MapName) => number, log: (message: string) => void, nowMs = () => performance.now()) {
    this.#mostEntries = mostEntries
    this.#log = log
    this.#nowMs = nowMs
  }

  get problems(): readonly DatapathProblem[] {
    return [...this.#problems.values()].map(({ subject, text, times }) => ({ subject, text, times }))
  }

  /** With larger maps; when they cannot be had, with those that are there. */
  *firstly<Step, Result, Given>(
    larger: readonly string[],
    withLarger: () => Generator<Step, Result, Given>,
    withThese: () => Generator<Step, Result, Given>,
  ): Generator<Step, Result, Given> {
    if (larger.length === 0) return yield* withLarger()
    try {
      return yield* withLarger()
    } catch (error) {
      for (const name of larger) this.#failed(name, `map ${name} keeps its size`, error)
      return yield* withThese()
    }
  }

  /** Writes something, after what is nearly full was made larger, and once more after what refused it was. */
  withRoom<Result>(
    filling: () => readonly MapUsage[],
    grow: (sizes: ReadonlyMap<string, number>) => void,
    write: () => Result,
  ): Result {
    this.#makeRoom(filling(), grow, fillToGrow)
    try {
      return write()
    } catch (error) {
      if (!(error instanceof HeraldError && error.code === 'ERR_MAP_FULL')) throw error
      if (!this.#makeRoom(filling(), grow, fillAfterRefusal)) throw error
      return write()
    }
  }

  /** What has room again is no problem any more. */
  judge(maps: readonly MapUsage[]): void {
    for (const { name, entries, maxEntries } of maps) if (entries < maxEntries * fillToGrow) this.#problems.delete(name)
  }

  #makeRoom(maps: readonly MapUsage[], grow: (sizes: ReadonlyMap<string, number>) => void, fill: number): boolean {
    const sizes = new Map<string, number>()
    const full = maps.filter(({ entries, maxEntries }) => entries >= maxEntries * fill)
    for (const { name, entries, maxEntries } of full) {
      const larger = Math.min(maxEntries * 2, this.#mostEntries(name as MapName))
      const known = this.#problems.get(name)
      if (larger > maxEntries && (known === undefined || this.#nowMs() - known.atMs >= retryMs)) sizes.set(name, larger)
      else if (known === undefined && entries >= maxEntries * fillToGrow)
        this.#failed(name, textOf(name, entries, maxEntries), 'it is as large as this machine allows')
    }
    if (sizes.size === 0) return false
    const names = [...sizes].map(([name, entries]) => `${name} to ${entries}`).join(', ')
    try {
      grow(sizes)
      for (const name of sizes.keys()) this.#problems.delete(name)
      this.#log(`maps were made larger before they were full: ${names}`)
      return true
    } catch (error) {
      for (const { name, entries, maxEntries } of full)
        if (sizes.has(name)) this.#failed(name, textOf(name, entries, maxEntries), error)
      return false
    }
  }

  #failed(name: string, what: string, error: unknown): void {
    const text = `${what} and cannot be made larger: ${messageOf(error).split('\n')[0] ?? ''}`
    const times = (this.#problems.get(name)?.times ?? 0) + 1
    this.#problems.set(name, { subject: name, text, times, atMs: this.#nowMs() })
    this.#log(text)
  }
}

function textOf(name: string, entries: number, maxEntries: number): string {
  return `map ${name} is ${Math.floor((entries * 100) / maxEntries)} % full (${entries} of ${maxEntries})`
}
