/** The memory of a burst, given back. The engine's part needs `--expose-gc`, and is left out without it. */
import { libc } from './libc.ts'

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
}

function collect(flavor: 'regular' | 'last-resort'): void {
  void globalThis.gc?.({ type: 'major', execution: 'sync', flavor })
}
