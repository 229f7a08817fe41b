/** Durations as Go and metav1.Duration write them, `1m30s`, in seconds. Pure. */
import * as z from 'zod'

const unitSec: Readonly<Record<string, number>> = {
  ns: 1e-9,
  us: 1e-6,
  µs: 1e-6,
  μs: 1e-6,
  ms: 1e-3,
  s: 1,
  m: 60,
  h: 3600,
}

/** undefined: the text is none. */
function parseDuration(text: string): number | undefined {
  if (text === '0') return 0
  if (!/^[+]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+$/.test(text)) return undefined
  // Summed up in nanoseconds, so that 0.1s and 0.2s are 0.3s.
  const parts = [...text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)]
  return (
    parts.reduce((sum, [, count = '', unit = '']) => sum + Math.round(Number(count) * (unitSec[unit] ?? 0) * 1e9), 0) /
    1e9
  )
}

/** Seconds, whole or not; undefined where nothing is written. */
export const optionalDuration = z
  .unknown()
  .optional()
  .transform((written, context): number | undefined => {
    if (written === undefined || written === null || written === '') return undefined
    const text = typeof written === 'string' ? written.trim() : ''
    const seconds = parseDuration(text)
    if (seconds !== undefined) return seconds
    const bare = typeof written === 'number' ? written : /^\d+$/.test(text) ? Number(text) : undefined
    const shown = typeof written === 'string' || bare !== undefined ? JSON.stringify(written).slice(0, 60) : 'it'
    const message = bare === undefined ? `${shown} is no duration` : `${shown} has no unit`
    context.addIssue({
      code: 'custom',
      message,
      params: { remedy: `Write ${bare === undefined ? '90s' : `${bare}s`}` },
    })
    return z.NEVER
  })
