/** The memory of a burst, given back. The engine's part needs `--expose-gc`, and is left out without it. */
import { readFileSync } from 'node:fs'
import { libc } from './libc.ts'

const madvise = libc.func('int madvise(uintptr_t address, size_t length, int advice)')
/** asm-generic/mman-common.h */
const dontNeed = 4

const mallocTrim = libc.func('int malloc_trim(size_t pad)')

/** Collects what is garbage now, and keeps what was compiled. Some milliseconds. */
export function collectGarbage(): void {
  collect('regular')
}

/**
 * Collects all garbage and gives the pages of every thread back, of the engine and of malloc(3), which both keep for
 * later. Drops compiled code with it and takes tens of milliseconds: for a thread and a moment in which nobody waits.
 */
export function giveMemoryBack(): void {
  collect('last-resort')
  mallocTrim(0)
  unmapPrograms()
}

/**
 * Lets go of the pages of program files that the start has touched; what is needed comes back from the page cache.
 * Only where nothing was written into them (`Anonymous`): that would be lost.
 */
function unmapPrograms(): void {
  for (const { start, end } of unwritten(readMappings())) madvise(start, Number(end - start), dontNeed)
}

function readMappings(): string {
  try {
    return readFileSync('/proc/self/smaps', 'utf8')
  } catch {
    // Not every kernel has it.
    return ''
  }
}

interface Mapping {
  readonly start: bigint
  readonly end: bigint
}

/** Of files, private, never writable. proc_pid_smaps(5) */
export function* unwritten(smaps: string): Generator<Mapping> {
  const head = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p [0-9a-f]+ \S+ [1-9]\d*\s+\//
  for (const mapping of smaps.split(/\n(?=[0-9a-f]+-)/)) {
    const [, start, end] = head.exec(mapping) ?? []
    if (start !== undefined && end !== undefined && /^Anonymous:\s+0 kB$/m.test(mapping))
      yield { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`) }
  }
}

function collect(flavor: 'regular' | 'last-resort'): void {
  void globalThis.gc?.({ type: 'major', execution: 'sync', flavor })
}
