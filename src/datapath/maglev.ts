/**
 * Maglev tables (Eisenbud et al., NSDI 2016, section 3.4): each backend walks the slots in an order of its own and
 * takes
 * the next free one in turn, so that shares differ by one slot at most and few slots move when a backend comes or goes.
 * The order follows from the backend's name alone: every node builds the same table from the same backends.
 */

/** Primes, so that every stride visits every slot. */
const tableLengths = [251, 1021, 4093, 16381, 65521] as const
/**
 * Shares differ by one slot at most, so by two percent. The paper advises 100 for one; half of it halves the time that
 * a change of a large Service takes.
 */
const slotsPerBackend = 50

/** No backend has this index. */
const untaken = -1

/** The length of the table for so many backends. One backend needs none. */
export function tableLength(backends: number): number {
  if (backends < 2) return 0
  return tableLengths.find((length) => length >= backends * slotsPerBackend) ?? 65521
}

/** Whether any table has that length. */
export function isTableLength(length: number): boolean {
  return tableLengths.some((each) => each === length)
}

/** FNV-1a with a final mix; seeded, so that offset and stride are independent. */
function hash(text: string, seed: number): number {
  let value = 0x811c9dc5 ^ seed
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35)
  return (value ^ (value >>> 16)) >>> 0
}

/** By backend, while a table is made: thousands are made in a row. */
let [next, stride] = [new Int32Array(0), new Int32Array(0)]

/**
 * How many of `length` slots each backend has: one at least, and the rest as its weight has it, to the slot. The same
 * on every node. Weights are whole and above 0, and there are no more of them than slots.
 */
export function slotsOf(weights: readonly number[], length: number): Int32Array {
  const slots = new Int32Array(weights.length)
  const weightAt = (index: number): number => weights[index] ?? 0
  let [left, sum] = [length, weights.reduce((total, weight) => total + weight, 0)]
  let sharing = Array.from(weights.keys())
  // To whom less than one is due has one; the others share what is left, of which less may be due to some.
  for (;;) {
    const [part, total] = [left, sum]
    const [few, enough]: [number[], number[]] = [[], []]
    for (const index of sharing) (weightAt(index) * part < total ? few : enough).push(index)
    if (few.length === 0) break
    for (const index of few) {
      slots[index] = 1
      sum -= weightAt(index)
      left--
    }
    sharing = enough
  }
  const [part, total] = [left, sum]
  for (const index of sharing) {
    slots[index] = Math.floor((weightAt(index) * part) / total)
    left -= slots[index] ?? 0
  }
  if (left === 0) return slots
  // What a division leaves goes to those that lost most by it.
  const lost = (index: number): number => (weightAt(index) * part) % total
  for (const index of sharing.sort((a, b) => lost(b) - lost(a) || a - b).slice(0, left))
    slots[index] = (slots[index] ?? 0) + 1
  return slots
}

/**
 * Whose turn each of the slots is, by backend: there are as many rounds as the heaviest one has slots, and each takes
 * its own evenly over them. Of two in one round the first one goes first.
 */
function turnsOf(slots: Int32Array): Int32Array {
  const rounds = slots.reduce((a, b) => Math.max(a, b), 1)
  const starts = new Int32Array(rounds + 1)
  const each = (take: (round: number, backend: number) => void): void => {
    for (const [backend, own] of slots.entries())
      for (let n = 0; n < own; n++) take(Math.floor((n * rounds) / own), backend)
  }
  each((round) => {
    starts[round + 1] = (starts[round + 1] ?? 0) + 1
  })
  for (let round = 0; round < rounds; round++) starts[round + 1] = (starts[round + 1] ?? 0) + (starts[round] ?? 0)
  const turns = new Int32Array(starts[rounds] ?? 0)
  each((round, backend) => {
    const at = starts[round] ?? 0
    starts[round] = at + 1
    turns[at] = backend
  })
  return turns
}

export interface TableOptions {
  /** Of each name; absent: they are equal. */
  readonly weights?: readonly number[] | undefined
  readonly table?: Int32Array
}

/**
 * For each of `length` slots the index of its backend in `names`, in `table` from its start. `names` must be unique,
 * sorted (the same order on every node) and fewer than `length`, which must be prime. With weights a backend passes
 * turns by, evenly, so that it takes its {@link slotsOf} in as many rounds as the heaviest one; with equal ones the
 * table is that of the paper.
 */
export function maglevTable(
  names: readonly string[],
  length: number,
  { weights, table = new Int32Array(length) }: TableOptions = {},
): Int32Array {
  const count = names.length
  const turns = weights === undefined ? undefined : turnsOf(slotsOf(weights, length))
  if (next.length < count) [next, stride] = [new Int32Array(count), new Int32Array(count)]
  for (let backend = 0; backend < count; backend++) {
    const name = names[backend] ?? ''
    next[backend] = hash(name, 0x0ff5e7) % length
    stride[backend] = (hash(name, 0x571de) % (length - 1)) + 1
  }
  table.fill(untaken, 0, length)
  let backend = 0
  for (let turn = 0; turn < length; turn++) {
    if (turns !== undefined) backend = turns[turn] ?? 0
    // Both are below `length`: a subtraction does what a division would.
    const step = stride[backend] ?? 1
    let slot = next[backend] ?? 0
    while (table[slot] !== untaken) {
      slot += step
      if (slot >= length) slot -= length
    }
    table[slot] = backend
    slot += step
    next[backend] = slot >= length ? slot - length : slot
    if (++backend === count) backend = 0
  }
  return table
}
