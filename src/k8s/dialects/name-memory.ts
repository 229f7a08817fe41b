/**
 * What the names in the lists of one object stood for in the plan before: a name that stands for nothing, and is only a
 * slip away from the one that stood in its place, is that one. Pure but for what it notes for the next plan.
 */
import { nearest } from '../kinds/nearest.ts'
import type { ObjectKey } from '../source.ts'
import type { Meanings } from './node-plan.ts'

export class NameMemory {
  readonly #before: Meanings | undefined
  readonly #meant = new Map<string, string>()

  constructor(before: Meanings | undefined) {
    this.#before = before
  }

  get meant(): Meanings {
    return this.#meant
  }

  /** The name that is meant at a place of a list, if any that is known. */
  nameAt({ key, field, list, index }: ListPlace, isKnown: (name: string) => boolean): string | undefined {
    const place = placeOf(key, field, index, list.length)
    const written = list[index] ?? ''
    const before = this.#before?.get(place)
    const isSlip = before !== undefined && nearest(written, [before]) !== undefined && isKnown(before)
    const name = isKnown(written) ? written : isSlip ? before : undefined
    if (name !== undefined) this.#meant.set(place, name)
    return name
  }

  /** What a name of an object stood for. */
  standsFor(key: ObjectKey, name: string): string | undefined {
    return this.#before?.get(placeOf(key, name))
  }

  note(key: ObjectKey, name: string, value: string): void {
    this.#meant.set(placeOf(key, name), value)
  }
}

export interface ListPlace {
  readonly key: ObjectKey
  readonly field: string
  readonly list: readonly string[]
  readonly index: number
}

function placeOf({ kind, namespace, name }: ObjectKey, ...more: readonly (string | number)[]): string {
  return JSON.stringify([kind, namespace, name, ...more])
}
