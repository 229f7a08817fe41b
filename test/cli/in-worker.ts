/** The command line in a thread of its own: many commands, one start, and nothing of it on the stdout of a test. */
import { Worker } from 'node:worker_threads'

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Does with a line what src/cli/herald.ts does with that of a process. */
const program = `
import { parentPort, workerData } from 'node:worker_threads'
const { createProgram } = await import(workerData.program)
const { exitCode, reportFailure } = await import(workerData.exit)
let written = { stdout: '', stderr: '' }
for (const name of ['stdout', 'stderr'])
  process[name].write = (text, ...rest) => {
    written[name] += text
    rest.at(-1)?.call?.(undefined)
    return true
  }
parentPort.on('message', async ({ words }) => {
  written = { stdout: '', stderr: '' }
  process.exitCode = undefined
  try {
    await createProgram().parseAsync(words, { from: 'user' })
  } catch (error) {
    const isUsage = error?.constructor?.name === 'CommanderError' || error?.name === 'CommanderError'
    const code = isUsage ? (error.exitCode === 0 ? exitCode.ok : exitCode.usage) : reportFailure(error)
    process.exitCode = code
  }
  parentPort.postMessage({ code: process.exitCode ?? 0, ...written })
})
`

export class CommandLine {
  readonly #worker: Worker
  #last: Promise<unknown> = Promise.resolve()

  constructor() {
    const at = (file: string): string => new URL(`../../src/cli/${file}`, import.meta.url).href
    this.#worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`), {
      workerData: { program: at('program.ts'), exit: at('exit.ts') },
      env: { PATH: process.env['PATH'], TZ: 'UTC' },
    })
  }

  /** One after the other. */
  run(...words: readonly string[]): Promise<Outcome> {
    const outcome = this.#last.then(
      () =>
        new Promise<Outcome>((resolve, reject) => {
          this.#worker.once('error', reject)
          this.#worker.once('message', (message: Outcome) => {
            this.#worker.off('error', reject)
            resolve(message)
          })
          this.#worker.postMessage({ words })
        }),
    )
    this.#last = outcome.catch(() => undefined)
    return outcome
  }

  async end(): Promise<void> {
    await this.#worker.terminate()
  }
}
