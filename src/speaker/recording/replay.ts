/**
 * Runs a recording through the speaker again: the inputs in their order, and every output compared with what was
 * recorded. Sockets, timers and the clock are the recording's, so the answer is the same on every machine.
 *
 *     lines --inputs--> ReplayEnvironment --> Speaker --outputs--> compared, the first difference ends it
 */
import type { BfdReport, PathWatch, WantedPath } from '../../bfd/path.ts'
import type { BfdSettings } from '../../desired/model.ts'
import { type Address, formatAddress, formatScoped, parseAddress } from '../../ip/address.ts'
import { HeraldError } from '../../errors.ts'
import type {
  DialOptions,
  Environment,
  Listener,
  ListenerOptions,
  ListenerPeer,
  LocalAddress,
  SendBacklog,
  Timer,
  Transport,
  TransportHandlers,
} from '../session/environment.ts'
import { seededRandom } from '../session/random.ts'
import { Speaker } from '../speaker.ts'
import {
  type Endpoint,
  type InputEvent,
  isRecorded,
  type OutputEvent,
  type ReadEvent,
  type RecordedEvent,
  type RecordingHead,
  recordingVersion,
} from './format.ts'

export interface ReplayOutcome {
  readonly inputs: number
  readonly outputs: number
  /** The first output that is not as recorded; `line` counts from 1. */
  readonly difference?: {
    readonly n: number
    readonly line: number
    readonly recorded?: string
    readonly replayed?: string
  }
}

interface Line {
  readonly number: number
  readonly event: RecordedEvent
}

/** Throws ERR_RECORDING when the text is no recording. */
export async function replay(text: string): Promise<ReplayOutcome> {
  const { head, lines } = parseRecording(text)
  return new Replay(head, lines).run()
}

function parseRecording(text: string): { readonly head: RecordingHead; readonly lines: readonly Line[] } {
  const all: { readonly number: number; readonly value: unknown }[] = []
  for (const [index, line] of text.split('\n').entries()) {
    if (line === '' || line.startsWith('#')) continue
    try {
      all.push({ number: index + 1, value: JSON.parse(line) })
    } catch {
      // A process that was killed leaves half a line at the end; anywhere else it is no recording.
      if (index < text.split('\n').length - 1) throw new HeraldError('ERR_RECORDING', `line ${index + 1} is no JSON`)
    }
  }
  const [first, ...rest] = all
  const head = first?.value as Partial<RecordingHead> | undefined
  if (head?.herald !== 'recording')
    throw new HeraldError('ERR_RECORDING', 'the first line is not the head of a recording')
  if (head.version !== recordingVersion)
    throw new HeraldError(
      'ERR_RECORDING',
      `a recording of version ${head.version}; this program reads ${recordingVersion}`,
    )
  return {
    head: head as RecordingHead,
    lines: rest.map(({ number, value }) => ({ number, event: value as RecordedEvent })),
  }
}

const isInput = (event: RecordedEvent): event is Extract<RecordedEvent, { readonly in: string }> => 'in' in event

function isRead<K extends ReadEvent['read']>(
  event: RecordedEvent,
  kind: K,
): event is Extract<RecordedEvent, { readonly read: K }> {
  return 'read' in event && event.read === kind
}

interface Listening {
  readonly options: ListenerOptions
  resolve(listener: Listener): void
  reject(error: HeraldError): void
  peers: readonly ListenerPeer[]
}

class Replay implements Environment {
  readonly #head: RecordingHead
  readonly #lines: readonly Line[]
  readonly #random: () => number
  readonly #timers = new Map<number, () => void>()
  readonly #soons = new Map<number, () => void>()
  readonly #discoveries = new Map<number, (router: Address) => void>()
  readonly #watches = new Map<number, (report: BfdReport) => void>()
  readonly #transports = new Map<number, ReplayTransport>()
  readonly #listenings: Listening[] = []
  #next = 0
  #at = 0
  #n = 0
  #inputs = 0
  #outputs = 0
  #made = { connections: 0, timers: 0, soons: 0, discoveries: 0, watches: 0 }
  #difference: ReplayOutcome['difference']

  constructor(head: RecordingHead, lines: readonly Line[]) {
    this.#head = head
    this.#lines = lines
    this.#random = seededRandom(head.seed)
  }

  async run(): Promise<ReplayOutcome> {
    const speaker = new Speaker(this.#head.options, this, (message) => {
      if (isRecorded(message)) this.output({ out: 'tell', message })
    })
    void speaker.start()
    await settled()
    while (this.#difference === undefined && this.#next < this.#lines.length) {
      const line = this.#lines[this.#next] as Line
      if (!isInput(line.event)) {
        this.#differs(line, undefined)
        break
      }
      this.#next++
      this.#inputs++
      this.#at = line.event.at
      this.#n = line.event.n
      if (line.event.in === 'agent') speaker.handle(line.event.message)
      else this.#happen(line.event)
      await settled()
    }
    return {
      inputs: this.#inputs,
      outputs: this.#outputs,
      ...(this.#difference === undefined ? {} : { difference: this.#difference }),
    }
  }

  now(): number {
    return this.#head.at + this.#at
  }

  uptimeSec(): number {
    return this.#head.uptimeSec + this.#at / 1000
  }

  random(): number {
    return this.#random()
  }

  after(sec: number, callback: () => void): Timer {
    const timer = ++this.#made.timers
    this.output({ out: 'arm', timer, sec })
    this.#timers.set(timer, callback)
    // Whether it expires is what the recording says.
    return { refresh: () => {}, cancel: () => {} }
  }

  soon(callback: () => void): void {
    this.#soons.set(++this.#made.soons, callback)
  }

  startTurn(): () => boolean {
    return () => this.look('late') !== undefined
  }

  dial(options: DialOptions): Transport {
    const connection = ++this.#made.connections
    this.output({ out: 'dial', connection, to: formatAddress(options.peer), port: options.port })
    this.mayRefuse()
    return this.#transport(connection)
  }

  listen(options: ListenerOptions): Promise<Listener> {
    this.output({ out: 'listen', host: options.host, port: options.port })
    return new Promise((resolve, reject) => {
      this.#listenings.push({ options, resolve, reject, peers: [] })
    })
  }

  localAddresses(): readonly LocalAddress[] {
    const { addresses = [] } = this.look('addresses') ?? {}
    return addresses.map((one) => ({ ...one, address: parseAddress(one.address) ?? 0 }))
  }

  discoverRouters(device: string, found: (router: Address) => void): { close(): void } {
    const discovery = ++this.#made.discoveries
    this.output({ out: 'discover', discovery, device })
    this.mayRefuse()
    this.#discoveries.set(discovery, found)
    return { close: () => this.output({ out: 'endDiscovery', discovery }) }
  }

  watchPath(path: WantedPath, settings: BfdSettings, told: (report: BfdReport) => void): PathWatch {
    const watch = ++this.#made.watches
    this.output({ out: 'watch', watch, path, settings })
    this.#watches.set(watch, told)
    return {
      configure: (next) => this.output({ out: 'configureWatch', watch, settings: next }),
      close: () => this.output({ out: 'endWatch', watch }),
    }
  }

  output(event: OutputEvent): void {
    const replayed = JSON.stringify({ n: this.#n, ...event })
    const line = this.#lines[this.#next]
    if (this.#difference !== undefined) return
    if (line === undefined || JSON.stringify(line.event) !== replayed)
      return this.#differs(
        line !== undefined && line.event.n === this.#n && !isInput(line.event) ? line : undefined,
        replayed,
      )
    this.#next++
    this.#outputs++
  }

  /** What the speaker saw when it looked, if the recording has something to say of it. */
  look<K extends ReadEvent['read']>(kind: K): Extract<RecordedEvent, { readonly read: K }> | undefined {
    const event = this.#lines[this.#next]?.event
    if (event === undefined || event.n !== this.#n || !isRead(event, kind)) return undefined
    this.#next++
    return event
  }

  mayRefuse(): void {
    const refusal = this.look('refusal')
    if (refusal !== undefined) throw new HeraldError('ERR_SYSCALL', refusal.reason)
  }

  #happen(event: Exclude<InputEvent, { readonly in: 'agent' }>): void {
    switch (event.in) {
      case 'timer':
        return this.#timers.get(event.timer)?.()
      case 'soon':
        return this.#soons.get(event.soon)?.()
      case 'path':
        return this.#watches.get(event.watch)?.(event.report)
      case 'router':
        return this.#discoveries.get(event.discovery)?.(parseAddress(event.address) ?? 0)
      case 'listening': {
        const listening = this.#listenings[(event.listener ?? 1) - 1]
        return listening?.resolve({
          port: event.port,
          close: async () => {},
          setPeers: (peers) => void (listening.peers = peers),
        })
      }
      case 'notListening':
        return this.#listenings[(event.listener ?? 1) - 1]?.reject(new HeraldError('ERR_BGP_LISTEN', event.problem))
      case 'refused':
        return this.#listenings[0]?.options.onRefused(event.address)
      case 'problem':
        return this.#listenings[0]?.options.onProblem?.(event.problem)
      case 'accepted': {
        this.#made.connections++
        const transport = this.#transport(event.connection)
        transport.endpoint = event.endpoint
        return this.#listenings
          .flatMap(({ peers }) => peers)
          .find(({ address, device }) => formatScoped(address, device) === event.from)
          ?.accept(transport)
      }
      default:
        return this.#transports.get(event.connection)?.happen(event)
    }
  }

  #transport(connection: number): ReplayTransport {
    const transport = new ReplayTransport(connection, this)
    this.#transports.set(connection, transport)
    return transport
  }

  #differs(line: Line | undefined, replayed: string | undefined): void {
    this.#difference ??= {
      n: this.#n,
      line: line?.number ?? this.#lines[this.#next]?.number ?? 0,
      ...(line === undefined ? {} : { recorded: JSON.stringify(line.event) }),
      ...(replayed === undefined ? {} : { replayed }),
    }
  }
}

type ConnectionEvent = Extract<InputEvent, { readonly in: 'connected' | 'data' | 'drained' | 'failed' | 'closed' }>

class ReplayTransport implements Transport {
  endpoint: Endpoint = { localAddress: '0.0.0.0', localPort: 0, remotePort: 0 }
  readonly #connection: number
  readonly #replay: Replay
  #handlers: TransportHandlers | undefined

  constructor(connection: number, replay: Replay) {
    this.#connection = connection
    this.#replay = replay
  }

  get localAddress(): Address {
    return parseAddress(this.endpoint.localAddress) ?? 0
  }

  get localPort(): number {
    return this.endpoint.localPort
  }

  get remotePort(): number {
    return this.endpoint.remotePort
  }

  attach(handlers: TransportHandlers): void {
    this.#handlers = handlers
  }

  happen(event: ConnectionEvent): void {
    switch (event.in) {
      case 'connected':
        this.endpoint = event.endpoint
        return this.#handlers?.connected()
      case 'data':
        return this.#handlers?.data(
          Uint8Array.from(event.bytes.match(/../g) ?? [], (octet) => Number.parseInt(octet, 16)),
        )
      case 'failed':
        return this.#handlers?.failed(event.reason)
      case 'drained':
      case 'closed':
        return this.#handlers?.[event.in]()
    }
  }

  write(bytes: Uint8Array): boolean {
    this.#replay.output({
      out: 'write',
      connection: this.#connection,
      bytes: Array.from(bytes, (octet) => octet.toString(16).padStart(2, '0')).join(''),
    })
    return this.#replay.look('full') === undefined
  }

  backlog(): SendBacklog {
    return this.#replay.look('backlog') ?? { octets: 0, mark: '' }
  }

  prepare(): void {
    this.#replay.mayRefuse()
  }

  setUserTimeout(): void {}
  pause(): void {}
  resume(): void {}

  close(): void {
    this.#replay.output({ out: 'close', connection: this.#connection })
  }

  destroy(): void {
    this.#replay.output({ out: 'destroy', connection: this.#connection })
  }
}

/** What promises of the speaker have to do after an event is done when this resolves: no chain of them is this long. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 32; turn++) await Promise.resolve()
}
