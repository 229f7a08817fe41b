/** Processes inside nodes of the lab that are told what to do: a line of JSON in, a line of JSON back. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { NamespaceNode } from '../../lab/namespaces.ts'
import { HeraldError, messageOf } from '../../src/errors.ts'

interface Answer {
  readonly value?: unknown
  readonly error?: string
}

const deadlineMs = 120_000

export class Told<Command> {
  readonly #name: string
  readonly #child: ChildProcess
  readonly #waiting: ((answer: Answer) => void)[] = []

  /** `script` lies beside this file. It ends with us: its standard input closes. */
  constructor(node: NamespaceNode, script: string) {
    this.#name = script
    const path = fileURLToPath(new URL(script, import.meta.url))
    const [program = '', ...args] = node.enter([process.execPath, path])
    this.#child = spawn(program, args, { detached: true, stdio: ['pipe', 'pipe', 'inherit'] })
    if (this.#child.stdout !== null)
      createInterface({ input: this.#child.stdout }).on('line', (line) =>
        this.#waiting.shift()?.(JSON.parse(line) as Answer),
      )
    const gone = (): void => this.#waiting.splice(0).forEach((settle) => settle({ error: 'its process is gone' }))
    this.#child.once('exit', gone).once('error', gone)
    this.#child.stdin?.on('error', () => {})
  }

  /** Throws ERR_LAB with what it says, or when it says nothing. */
  tell<T>(command: Command): Promise<T> {
    return new Promise((resolve, reject) => {
      const failed = (text: string): void => reject(new HeraldError('ERR_LAB', `${this.#name}: ${text}`))
      const timer = setTimeout(() => failed(`no answer in ${deadlineMs / 1_000} s`), deadlineMs)
      this.#waiting.push(({ value, error }) => {
        clearTimeout(timer)
        if (error === undefined) resolve(value as T)
        else failed(error)
      })
      this.#child.stdin?.write(`${JSON.stringify(command)}\n`)
    })
  }

  end(): void {
    this.#child.stdin?.end()
  }
}

/** The other side: answers each command in turn, and ends with who tells. */
export function answerLines<Command>(perform: (command: Command) => unknown): void {
  let last: Promise<unknown> = Promise.resolve()
  const lines = createInterface({ input: process.stdin })
  lines.on('line', (line) => {
    last = last
      .then(() => perform(JSON.parse(line) as Command))
      .then(
        (value) => console.log(JSON.stringify({ value: value ?? null })),
        (error: unknown) => console.log(JSON.stringify({ error: messageOf(error) })),
      )
  })
  lines.once('close', () => process.exit())
}
