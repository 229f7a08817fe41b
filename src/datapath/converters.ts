/**
 * How maps of earlier schemas read in ours, so that an upgrade to another schema takes their flows along. Ids of
 * backends, Services and tables stay what they are: a flow that was copied names the same backend. Pure.
 *
 * Whoever raises `schema` in layout.ts puts here what turns an entry of the schema before into one of the new one.
 */
import type { MapName } from './layout.ts'

/** `same`: octet by octet. Otherwise an entry of ours for one of theirs; undefined: it is left out. Arrays by index. */
export type Conversion = 'same' | ((key: Uint8Array, value: Uint8Array) => Entry | undefined)

export type Entry = readonly [key: Uint8Array, value: Uint8Array]

export interface Converter {
  readonly from: number
  /** What is not named begins empty; addresses and sources follow from frontends and backends. */
  readonly maps: Readonly<Partial<Record<MapName, Conversion>>>
}

export const converters: readonly Converter[] = []
