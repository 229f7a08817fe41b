/** The memory of a burst, given back. */
import { readFile } from 'node:fs/promises'
import { constants, PerformanceObserver } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { libc } from './libc.ts'

const madvise = libc.func('int madvise(uintptr_t address, size_t length, int advice)')
/** asm-generic/mman-common.h */
const dontNeed = 4

const mallocTrim = libc.func('int malloc_trim(size_t pad)')

/**
 * Threads that are begun from now on have a young generation of two halves of 2 MiB, whatever the main thread has: they
 * collect a little at a time, and keep no memory of a burst. `resourceLimits` of a Worker are nothing beside the flag,
 * which the engine reads when it makes the heap of a thread.
 */
export function keepThreadsSmall(): void {
  setFlagsFromString('--max-semi-space-size=2')
}

/** Collects what is garbage now, and keeps what was compiled. Some milliseconds, more of a large heap. */
export function collectGarbage(): void {
  void exposedGc()({ type: 'major', execution: 'sync', flavor: 'regular' })
}

/**
 * The engine shows it to contexts that are made under this flag. Given to the process, the flag would make it another
 * engine than that which compiled Node's own modules: all of them would be compiled anew (docs/adr/0009-one-file.md).
 */
function exposedGc(): NonNullable<typeof globalThis.gc> {
  setFlagsFromString('--expose-gc')
  try {
    return runInNewContext('gc')
  } finally {
    setFlagsFromString('--no-expose-gc')
  }
}

/** Resident memory now; undefined where it cannot be seen: without a descriptor to spare, or without procfs. */
export function residentMiB(): number | undefined {
  try {
    return process.memoryUsage.rss() / 2 ** 20
  } catch {
    return undefined
  }
}

export interface Collections {
  /** How often all garbage of this thread was collected since this is watched. */
  readonly count: number
  end(): void
}

/** Counts what the engine collects by itself, which it does in small steps when little happens. */
export function watchCollections(): Collections {
  let count = 0
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (kindOf(entry) === constants.NODE_PERFORMANCE_GC_MAJOR) count++
  })
  observer.observe({ entryTypes: ['gc'] })
  return {
    get count() {
      return count
    },
    end: () => observer.disconnect(),
  }
}

const kindOf = (entry: object): unknown => Reflect.get(Object(Reflect.get(entry, 'detail')), 'kind')

/**
 * Gives the pages of garbage that was collected back, those that malloc(3) keeps for later, and those of program files.
 * The system works on that in other threads.
 */
export async function giveMemoryBack(): Promise<void> {
  await asynchronously(mallocTrim, 0)
  await unmapPrograms()
}

/**
 * Lets go of the pages of program files that the start has touched; what is needed comes back from the page cache.
 * Only where nothing was written into them (`Anonymous`): that would be lost.
 */
async function unmapPrograms(): Promise<void> {
  for (const { start, end } of unwritten(await readMappings()))
    await asynchronously(madvise, start, Number(end - start), dontNeed)
}

/** In another thread, where the call takes its time. */
function asynchronously(call: ReturnType<typeof libc.func>, ...words: readonly (number | bigint)[]): Promise<void> {
  return new Promise((resolve) => call.async(...words, () => resolve()))
}

/** Empty where the kernel does not have it. */
const readMappings = (): Promise<string> => readFile('/proc/self/smaps', 'utf8').catch(() => '')

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
