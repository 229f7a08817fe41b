/** What the calls of a process to libbpf take. */
import koffi, { type LibraryHandle } from 'koffi'

export interface CallTime {
  readonly calls: number
  /** Wall time inside of them: the kernel's, and the little that libbpf and the crossing into it add. */
  readonly ms: number
}

/** Of every function of libbpf from now on, by name. Before the library is used for the first time. */
export function timeLibbpf(): ReadonlyMap<string, CallTime> {
  const times = new Map<string, { calls: number; ms: number }>()
  const load = koffi.load.bind(koffi)
  const timedLoad = (file: string): LibraryHandle => {
    const library = load(file)
    if (!file.startsWith('libbpf')) return library
    const func = library.func.bind(library) as (prototype: string) => (...args: unknown[]) => unknown
    const timedFunc = (prototype: string): unknown => {
      const call = func(prototype)
      const time = { calls: 0, ms: 0 }
      times.set(/(\w+)\(/.exec(prototype)?.[1] ?? prototype, time)
      const timed = (...args: unknown[]): unknown => {
        const at = performance.now()
        try {
          return call(...args)
        } finally {
          time.calls++
          time.ms += performance.now() - at
        }
      }
      return Object.assign(timed, call)
    }
    // The library's own property cannot be written.
    return Object.create(library, { func: { value: timedFunc } }) as LibraryHandle
  }
  Object.assign(koffi, { load: timedLoad })
  return times
}

/** Of all functions whose name begins with one of `prefixes`. */
export function timeOf(times: ReadonlyMap<string, CallTime>, prefixes: readonly string[]): CallTime {
  const found = [...times].filter(([name]) => prefixes.some((prefix) => name.startsWith(prefix)))
  return {
    calls: found.reduce((sum, [, time]) => sum + time.calls, 0),
    ms: found.reduce((sum, [, time]) => sum + time.ms, 0),
  }
}
