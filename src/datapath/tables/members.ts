/**
 * The backends of a frontend with which clients may stay, by their ids: a hash with open addressing in the map of
 * tables, written whole beside the frontend that is to name it. bpf/affinity.h reads it. Pure.
 */
import type { BackendRef } from '../layout.ts'

/** MEMBER_PROBES: each is at most so far from where it belongs. */
const mostProbes = 16

/** The slots, empty ones undefined; a power of two of them. The same for the same backends in any order. */
export function memberSlots(refs: readonly BackendRef[]): readonly (BackendRef | undefined)[] {
  const sorted = refs.toSorted((a, b) => a.id - b.id)
  for (let length = 2; ; length *= 2) {
    const slots = length < 2 * refs.length ? undefined : slotsOf(sorted, length)
    if (slots !== undefined) return slots
  }
}

/** undefined when one of them would be too far from where it belongs. */
function slotsOf(refs: readonly BackendRef[], length: number): readonly (BackendRef | undefined)[] | undefined {
  const slots: (BackendRef | undefined)[] = Array.from({ length })
  for (const ref of refs) {
    const place = memberPlace(ref.id)
    let probe = 0
    while (probe < mostProbes && slots[(place + probe) & (length - 1)] !== undefined) probe++
    if (probe === mostProbes) return undefined
    slots[(place + probe) & (length - 1)] = ref
  }
  return slots
}

function memberPlace(id: number): number {
  const hash = Math.imul(id, 0x9e3779b1) >>> 0
  return hash ^ (hash >>> 15)
}
