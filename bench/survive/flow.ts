/** One connection of the load: a line is asked, the line that comes back names the pod. */
import { connect, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { servicePort } from './ports.ts'

export interface FlowEvents {
  answered(isFirst: boolean, isMoved: boolean): void
  /** By the other side, or by the kernel for it; at most once, and not after {@link Flow.end}. */
  ended(code: string): void
}

export class Flow {
  readonly address: string
  readonly startedMs = performance.now()
  pod = ''
  isWaiting = true
  /** It was held when the event began. */
  isCounted = false
  readonly #socket: Socket
  readonly #events: FlowEvents
  #partial = ''
  #asked = 0
  #isOver = false

  /** Connects and asks once. */
  constructor(address: string, events: FlowEvents) {
    this.address = address
    this.#events = events
    this.#socket = connect({ host: address, port: servicePort, noDelay: true })
    this.#socket.setEncoding('latin1')
    this.#socket.on('connect', () => this.#send())
    this.#socket.on('data', (text: string) => this.#read(text))
    this.#socket.on('error', (error: NodeJS.ErrnoException) => this.fail(error.code ?? error.message))
    this.#socket.on('end', () => this.fail('closed'))
  }

  get localPort(): number {
    return this.#socket.localPort ?? 0
  }

  ask(): void {
    this.isWaiting = true
    this.#send()
  }

  /** In order, by us. */
  end(): void {
    this.#isOver = true
    this.#socket.end()
  }

  fail(code: string): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#socket.destroy()
    this.#events.ended(code)
  }

  #send(): void {
    this.#socket.write(`${++this.#asked}\n`)
  }

  #read(text: string): void {
    const lines = (this.#partial + text).split('\n')
    this.#partial = lines.pop() ?? ''
    for (const line of lines) {
      const [pod = '', number] = line.split(' ')
      if (Number(number) !== this.#asked) continue
      const [isFirst, isMoved] = [this.pod === '', this.pod !== '' && this.pod !== pod]
      this.pod = pod
      this.isWaiting = false
      this.#events.answered(isFirst, isMoved)
    }
  }
}
