/**
 * The log: one JSON line per event, or text for people.
 *
 *     event --pino--> JSON line --> secrets out --> what a terminal would obey escaped --> stdout
 *
 * Secrets are taken out of the finished line, where they have no depth to hide in: pino's own redaction knows fixed
 * paths.
 */
import pino from 'pino'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
export type Logger = pino.Logger

const secretKeys = ['password', 'authSecret']
const mayHoldSecret = new RegExp(`"(?:${secretKeys.join('|')})":`)
/** C0, DEL, C1, line separators, marks that hide or turn the direction. */
const unprintable = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g

export function createLogger(options: { readonly level: LogLevel; readonly format: 'json' | 'text' }): Logger {
  // Synchronous, so that the last line before a crash is written.
  const out = pino.destination({ dest: 1, sync: true })
  const shape = options.format === 'json' ? escaped : textLine
  const base = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  }
  return pino(base, { write: (line: string) => void out.write(`${shape(withoutSecrets(line.trimEnd()))}\n`) })
}

function withoutSecrets(json: string): string {
  if (!mayHoldSecret.test(json)) return json
  return JSON.stringify(JSON.parse(json, (key, value: unknown) => (secretKeys.includes(key) ? '[Redacted]' : value)))
}

/** Also right for JSON: there these characters stand in strings only. */
function escaped(text: string): string {
  return text.replace(unprintable, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** `12:01:02.345 warn  session lost peer=192.0.2.1 reason="..."`. */
function textLine(json: string): string {
  const { time, level, msg = '', ...fields }: Record<string, unknown> = JSON.parse(json)
  const rest = Object.entries(fields).map(
    ([key, value]) => ` ${key}=${typeof value === 'string' && !/[\s"=]/.test(value) ? value : JSON.stringify(value)}`,
  )
  return escaped(`${String(time).slice(11, 23)} ${String(level).padEnd(5)} ${String(msg)}${rest.join('')}`)
}
