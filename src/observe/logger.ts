/** The log: one JSON line per event, or text for people. Secrets cannot be logged: the fields that could hold one are redacted. */
import pino from 'pino'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
export type Logger = pino.Logger

const redact = ['password', '*.password', 'neighbors[*].password', 'authSecret', '*.authSecret']

export function createLogger(options: { readonly level: LogLevel; readonly format: 'json' | 'text' }): Logger {
  // Synchronous, so that the last line before a crash is written.
  const out = pino.destination({ dest: 1, sync: true })
  const base = { level: options.level, base: null, redact, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label: string) => ({ level: label }) } }
  return options.format === 'json' ? pino(base, out) : pino(base, { write: (line: string) => void out.write(textLine(line)) })
}

/** `12:01:02.345 warn  session lost peer=192.0.2.1 reason="..."`. */
function textLine(json: string): string {
  const { time, level, msg = '', ...fields }: Record<string, unknown> = JSON.parse(json)
  const rest = Object.entries(fields).map(([key, value]) => ` ${key}=${typeof value === 'string' && !/[\s"=]/.test(value) ? value : JSON.stringify(value)}`)
  return `${String(time).slice(11, 23)} ${String(level).padEnd(5)} ${String(msg)}${rest.join('')}\n`
}
