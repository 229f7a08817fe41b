/**
 * What was in force, remembered in the state directory, so that a restart knows what is missing: neighbors by id, and
 * the prefixes that were announced.
 */
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Problem } from '../desired/model.ts'
import { readOwnFile, replaceOwnFileLater } from '../sys/own-file.ts'

export interface InForce {
  readonly neighbors: readonly string[]
  readonly prefixes: readonly string[]
}

/** Of what the agent remembers; a node has some tens of thousands at most. */
const maxPrefixes = 200_000
const maxBytes = 16 * 1024 * 1024

export class InForceRecord {
  readonly #file: string
  #writing: Promise<void> | undefined
  #next: InForce | undefined

  constructor(stateDir: string) {
    this.#file = join(stateDir, 'in-force.json')
  }

  /** undefined when nothing was remembered, or it cannot be read: then nothing is known to be missing. */
  read(): InForce | undefined {
    try {
      const value: unknown = JSON.parse(readOwnFile(this.#file, maxBytes) ?? 'null')
      if (typeof value !== 'object' || value === null) return undefined
      const { neighbors, prefixes } = value as Readonly<Record<string, unknown>>
      return isTexts(neighbors) && isTexts(prefixes) ? { neighbors, prefixes } : undefined
    } catch {
      return undefined
    }
  }

  /** Replaces what is remembered; of those that come while one is written only the last one follows. */
  write(inForce: InForce): Promise<void> {
    this.#next = inForce
    this.#writing ??= this.#writeAll().finally(() => (this.#writing = undefined))
    return this.#writing
  }

  async #writeAll(): Promise<void> {
    for (let next = this.#take(); next !== undefined; next = this.#take()) {
      const { neighbors, prefixes } = next
      const kept = { neighbors, prefixes: prefixes.slice(0, maxPrefixes) }
      await replaceOwnFileLater(this.#file, `${JSON.stringify(kept)}\n`)
    }
  }

  /** Whatever it says: nobody else writes it. */
  isThere(): Promise<boolean> {
    return lstat(this.#file).then(
      (found) => found.isFile(),
      (error: NodeJS.ErrnoException) => error.code !== 'ENOENT' && error.code !== 'ENOTDIR',
    )
  }

  #take(): InForce | undefined {
    const next = this.#next
    this.#next = undefined
    return next
  }
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string')
}

export interface AfterRestart {
  /** undefined: an earlier agent left no record. */
  readonly before: InForce | undefined
  readonly now: InForce
  readonly problems: readonly Problem[]
  /** Something fails and is tried again. */
  readonly hasFaults: boolean
  readonly source: { readonly isReachable: boolean; readonly objects: number; readonly unconfirmed: number }
}

/**
 * What was in force before a restart and is not now, for a reason that may pass; empty when nothing needs to be waited
 * for. What is gone while everything can be read, without any error, was removed on purpose. Pure.
 */
export function missingAfterRestart({ before, now, problems, hasFaults, source }: AfterRestart): readonly string[] {
  const isAway = !source.isReachable || source.objects === 0
  const isUncertain = isAway || source.unconfirmed > 0 || hasFaults
  const hasErrors = problems.some(({ severity }) => severity === 'error')
  if (!isUncertain && !hasErrors) return []
  if (before === undefined) return isAway ? ['every object'] : hasErrors ? ['what cannot be read'] : []
  const [neighbors, prefixes] = [new Set(now.neighbors), new Set(now.prefixes)]
  return [
    ...before.neighbors.filter((id) => !neighbors.has(id)).map((id) => `neighbor ${id}`),
    ...before.prefixes.filter((prefix) => !prefixes.has(prefix)).map((prefix) => `route ${prefix}`),
  ]
}
