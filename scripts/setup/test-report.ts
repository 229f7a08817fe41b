/**
 * Prints what the test runner says: a line per file, everything about a failure, what tests have to show, and in the
 * end the runner's own counts over all suites together, where nobody has to scroll for them.
 */
import { relative } from 'node:path'
import { inspect, styleText } from 'node:util'
import type { TestsStream } from 'node:test'

interface FileTally {
  passed: number
  failed: number
  skipped: number
  output: string
}

const countNames = {
  tests: 'tests',
  suites: 'suites',
  pass: 'passed',
  fail: 'failed',
  cancelled: 'cancelled',
  skipped: 'skipped',
  todo: 'todo',
} as const
type Counts = Record<(typeof countNames)[keyof typeof countNames], number>

export class TestReport {
  readonly #root: string
  readonly #started = performance.now()
  readonly #files = new Map<string, FileTally>()
  readonly #counts: Counts = { tests: 0, suites: 0, passed: 0, failed: 0, cancelled: 0, skipped: 0, todo: 0 }
  readonly #failures: string[] = []
  readonly #skips: string[] = []

  constructor(root: string) {
    this.#root = root
  }

  get hasFailed(): boolean {
    return this.#counts.failed > 0 || this.#counts.cancelled > 0 || this.#counts.tests === 0
  }

  get skips(): readonly string[] {
    return this.#skips
  }

  /** Follows one run to its end; `isLive` prints what tests write as they write it. */
  async follow(stream: TestsStream, isLive: boolean): Promise<void> {
    stream.on('test:pass', (event) => {
      const { name, skip, details } = event
      // A suite counts for itself only when it was skipped with all that is in it.
      if (details.type === 'suite' && (skip === undefined || skip === false)) return
      const file = entryOf(event)
      const tally = this.#tally(file)
      if (skip === undefined || skip === false) tally.passed++
      else {
        tally.skipped++
        this.#skips.push(`${this.#short(file)}: ${name}${typeof skip === 'string' ? `: ${skip}` : ''}`)
      }
    })
    stream.on('test:fail', (event) => {
      const { file, name, line, details } = event
      if (details.type !== 'suite') this.#tally(entryOf(event)).failed++
      // A parent only repeats what its children said.
      if (
        details.error.cause !== undefined &&
        typeof details.error.cause === 'string' &&
        /subtests? failed/.test(details.error.cause)
      )
        return
      this.#failures.push(
        `${this.#short(file)}${line === undefined ? '' : `:${line}`}: ` +
          `${name}\n${indent(inspect(details.error.cause ?? details.error, { colors: process.stdout.isTTY }))}`,
      )
    })
    stream.on('test:diagnostic', ({ file, message }) => {
      if (file !== undefined) print(`    ${message}`)
    })
    for (const type of ['test:stdout', 'test:stderr'] as const) {
      stream.on(type, (event) => {
        if (isLive) process.stdout.write(event.message)
        else this.#tally(entryOf(event)).output += event.message
      })
    }
    stream.on('test:summary', ({ file, counts, duration_ms }) => {
      if (file !== undefined) this.#finishFile(file, duration_ms)
      else
        for (const key of Object.values(countNames)) this.#counts[key] += Number((counts as Partial<Counts>)[key] ?? 0)
    })
    for await (const _ of stream.resume()) void _
    // Their processes ended otherwise than with a summary.
    for (const file of this.#files.keys()) this.#finishFile(file)
  }

  /** Failures again, skips by name, `faults` outside of tests, then the counts as `node --test` prints them. */
  finish(faults: readonly string[]): void {
    if (this.#failures.length > 0) print(`\n${paint('red', 'Failures')}\n\n${this.#failures.join('\n\n')}`)
    if (this.#skips.length > 0)
      print(`\n${paint('yellow', 'Skipped on this machine')}\n${this.#skips.map((skip) => `  ${skip}`).join('\n')}`)
    if (faults.length > 0) print(`\n${faults.map((fault) => paint('red', fault)).join('\n')}`)
    print('')
    for (const [name, key] of Object.entries(countNames)) print(`# ${name} ${this.#counts[key]}`)
    print(`# duration_ms ${(performance.now() - this.#started).toFixed(1)}`)
  }

  #finishFile(file: string, durationMs?: number): void {
    const tally = this.#tally(file)
    this.#files.delete(file)
    const parts = [
      `${tally.passed} passed`,
      ...(tally.failed > 0 ? [`${tally.failed} failed`] : []),
      ...(tally.skipped > 0 ? [`${tally.skipped} skipped`] : []),
    ]
    const mark = tally.failed > 0 ? paint('red', '✗') : tally.passed > 0 ? paint('green', '✓') : paint('yellow', '-')
    print(
      `  ${mark} ${this.#short(file).padEnd(52)} ${parts.join(', ')}  ` +
        `${durationMs === undefined ? '' : paint('dim', `${(durationMs / 1000).toFixed(1)} s`)}`,
    )
    if (tally.failed > 0 && tally.output !== '') print(indent(tally.output.trimEnd()))
  }

  #tally(file: string | undefined): FileTally {
    const key = file ?? ''
    const known = this.#files.get(key) ?? { passed: 0, failed: 0, skipped: 0, output: '' }
    this.#files.set(key, known)
    return known
  }

  #short(file: string | undefined): string {
    return file === undefined ? '' : relative(this.#root, file)
  }
}

/** The file that was run: a test may be written in another one that it imports, which is what `file` names. */
function entryOf(event: { readonly file?: string | undefined; readonly entryFile?: string }): string | undefined {
  return event.entryFile ?? event.file
}

function indent(text: string): string {
  return text
    .split('\n')
    .map((line) => `    ${line}`)
    .join('\n')
}

export function paint(format: Parameters<typeof styleText>[0], text: string): string {
  return styleText(format, text, { stream: process.stdout })
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}
