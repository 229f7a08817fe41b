/**
 * The log: one JSON line per event, or text for people.
 *
 *     event --pino--> JSON line --> secrets out --> what a terminal would obey escaped --> stdout
 *
 * Where stdout takes nothing (a full disk, a reader that is gone) some lines wait, further ones are lost and counted,
 * and the process goes on: see {@link LogOutput}.
 *
 * Secrets are taken out of the finished line, where they have no depth to hide in: pino's own redaction knows fixed
 * paths.
 */
import { writeSync } from 'node:fs'
import pino from 'pino'
import { unprintable } from '../api/unprintable.ts'
import { messageOf } from '../errors.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
export type Logger = pino.Logger

const secretKeys = ['password', 'authSecret']
const mayHoldSecret = new RegExp(`"(?:${secretKeys.join('|')})":`)

/** Octets of lines that wait for room. */
const maxWaitingBytes = 64 * 1024

/**
 * Standard output, and what became of lines that it did not take. Written at once, so that the last line before a crash
 * is there; never waited for, which pino's own destination does, or falls silent for good.
 */
export class LogOutput {
  /** Lost since the start. */
  lostLines = 0
  #waiting: Buffer = Buffer.alloc(0)
  #problem: string | undefined
  /** Not told yet. */
  #untold = 0

  constructor() {
    // Opening the stream is what makes a pipe or a socket answer EAGAIN where its reader is late, in place of a wait;
    // Node undoes it when the process ends.
    void process.stdout
  }

  /** Why lines wait or are lost now, found by trying; undefined: none does. */
  problem(): string | undefined {
    if (this.#problem !== undefined) this.#flush()
    return this.#problem
  }

  /** Answers how many lines were lost before this one, when that can be told for the first time. */
  write(text: string): number {
    const wasBroken = this.problem() !== undefined
    const line = Buffer.from(text)
    if (wasBroken && this.#waiting.length + line.length > maxWaitingBytes) {
      this.lostLines++
      this.#untold++
      return 0
    }
    this.#waiting = this.#waiting.length === 0 ? line : Buffer.concat([this.#waiting, line])
    if (!wasBroken) this.#flush()
    if (this.#problem !== undefined) return 0
    const lost = this.#untold
    this.#untold = 0
    return lost
  }

  #flush(): void {
    try {
      while (this.#waiting.length > 0) this.#waiting = this.#waiting.subarray(writeSync(1, this.#waiting))
      this.#problem = undefined
    } catch (error) {
      this.#problem = messageOf(error)
    }
  }
}

export function createLogger(
  options: { readonly level: LogLevel; readonly format: 'json' | 'text' },
  output = new LogOutput(),
): Logger {
  const shape = options.format === 'json' ? escaped : textLine
  const base = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  }
  const log = pino(base, {
    write: (line: string) => {
      const lost = output.write(`${shape(withoutSecrets(line.trimEnd()))}\n`)
      if (lost > 0) log.warn({ lost }, 'lines of the log before this one were lost: they could not be written')
    },
  })
  return log
}

function withoutSecrets(json: string): string {
  if (!mayHoldSecret.test(json)) return json
  return JSON.stringify(JSON.parse(json, (key, value: unknown) => (secretKeys.includes(key) ? '[Redacted]' : value)))
}

/** Also right for JSON: there these characters stand in strings only. */
function escaped(text: string): string {
  return text.replace(unprintable, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  )
}

/** `12:01:02.345 warn  session lost peer=192.0.2.1 reason="..."`. */
function textLine(json: string): string {
  const { time, level, msg = '', ...fields }: Record<string, unknown> = JSON.parse(json)
  const rest = Object.entries(fields).map(
    ([key, value]) => ` ${key}=${typeof value === 'string' && !/[\s"=]/.test(value) ? value : JSON.stringify(value)}`,
  )
  return escaped(`${String(time).slice(11, 23)} ${String(level).padEnd(5)} ${String(msg)}${rest.join('')}`)
}
