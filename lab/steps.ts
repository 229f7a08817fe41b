/**
 * The live list of steps: on a terminal a line is rewritten while its step runs, elsewhere lines only ever follow each
 * other.
 */
import { styleText } from 'node:util'
import { messageOf } from '../src/errors.ts'

export type Note = (detail: string) => void

const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']
const titleWidth = 18
const plainNoteEveryMs = 5_000

export class StepList {
  readonly #out: NodeJS.WriteStream
  readonly isTerminal: boolean

  constructor(out: NodeJS.WriteStream) {
    this.#out = out
    this.isTerminal = out.isTTY === true && process.env['TERM'] !== 'dumb'
  }

  style(format: Parameters<typeof styleText>[0], text: string): string {
    return styleText(format, text, { stream: this.#out })
  }

  line(text = ''): void {
    this.#out.write(`${text}\n`)
  }

  /** Runs one step; what its action answers as text, or noted last, stands behind the title in the end. Rethrows. */
  async step<T>(title: string, action: (note: Note) => Promise<T>, describe?: (value: T) => string): Promise<T> {
    const started = Date.now()
    let detail = ''
    let lastPlain = started
    const timer = this.isTerminal ? setInterval(() => this.#rewrite(title, detail, started), 100) : undefined
    const note = (text: string): void => {
      detail = text
      if (this.isTerminal || Date.now() - lastPlain < plainNoteEveryMs) return
      lastPlain = Date.now()
      this.line(`  … ${title.padEnd(titleWidth)} ${text}`)
    }
    try {
      const value = await action(note)
      this.#finish(this.style('green', '✓'), title, describe?.(value) ?? detail, started)
      return value
    } catch (error) {
      this.#finish(this.style('red', '✗'), title, messageOf(error), started)
      throw error
    } finally {
      clearInterval(timer)
    }
  }

  #rewrite(title: string, detail: string, started: number): void {
    const frame = frames[Math.floor((Date.now() - started) / 100) % frames.length] ?? ''
    const room = Math.max((this.#out.columns || 80) - titleWidth - 6, 0)
    this.#out.write(
      `\r\x1b[2K  ${this.style('cyan', frame)} ${title.padEnd(titleWidth)} ${this.style('dim', detail.slice(0, room))}`,
    )
  }

  #finish(mark: string, title: string, detail: string, started: number): void {
    const seconds = this.style('dim', `${((Date.now() - started) / 1000).toFixed(1)} s`)
    const indented = detail.split('\n').join(`\n${' '.repeat(titleWidth + 5)}`)
    this.#out.write(
      `${this.isTerminal ? '\r\x1b[2K' : ''}  ${mark} ${title.padEnd(titleWidth)} ` +
        `${indented}${detail === '' ? '' : '  '}${seconds}\n`,
    )
  }
}
