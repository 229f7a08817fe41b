/**
 * CPU time of the calling thread, to the nanosecond. What Node says of it (getrusage(2)) moves only when the kernel's
 * tick or a switch comes, every 4 ms for a thread that computes: a turn of half a millisecond could be counted as 4.
 */
import koffi from 'koffi'

const clockGettime = koffi.load('libc.so.6').func('int clock_gettime(int clock, void *time)')
/** linux/time.h: CLOCK_THREAD_CPUTIME_ID. */
const threadCpuTime = 3
/** Seconds and nanoseconds. */
const time = new BigInt64Array(2)

export function threadCpuMs(): number {
  clockGettime(threadCpuTime, time)
  return Number(time[0]) * 1_000 + Number(time[1]) / 1e6
}
