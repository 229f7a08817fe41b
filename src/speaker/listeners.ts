/**
 * The ports on which neighbors are awaited: the one of the speaker, and those that neighbors ask for.
 *
 *     setPeers --ports wanted--> opened, closed by difference --> each knows the neighbors that may connect to it
 *
 * A port that is taken is told and costs nothing else: the others stay, the neighbor is dialled, and it is tried and
 * told again whenever the neighbors are set.
 */
import { messageOf } from '../errors.ts'
import type { Environment, Listener, ListenerOptions, ListenerPeer } from './session/environment.ts'

/** `listenPort`: also awaited there. */
export type AwaitedPeer = ListenerPeer & { readonly listenPort?: number }

/** `listener`: undefined while it is being opened. */
interface Port {
  listener: Listener | undefined
}

type Options = Pick<ListenerOptions, 'host' | 'onRefused'> & { onProblem(message: string): void }

export class Listeners {
  readonly #environment: Environment
  readonly #options: Options
  #main: Listener | undefined
  #peers: readonly AwaitedPeer[] = []
  /** By port, as they are wanted. */
  readonly #extra = new Map<number, Port>()
  /** By port: a port that is being opened, or that was, is closed before it is opened again. */
  readonly #opening = new Map<number, Promise<void>>()
  #isClosed = false

  constructor(environment: Environment, options: Options) {
    this.#environment = environment
    this.#options = options
  }

  /** The port that the first listener got; undefined without one. */
  get port(): number | undefined {
    return this.#main?.port
  }

  /** Opens the port of the speaker, which serves every neighbor; rejects with ERR_BGP_LISTEN. */
  async open(port: number): Promise<void> {
    const main = await this.#environment.listen({ ...this.#options, port })
    // The end came first.
    if (this.#isClosed) return main.close()
    this.#main = main
    this.#tell(main, this.#peers)
  }

  setPeers(peers: readonly AwaitedPeer[]): void {
    this.#peers = peers
    if (this.#main !== undefined) this.#tell(this.#main, peers)
    const wanted = new Set(peers.flatMap(({ listenPort }) => (listenPort === undefined ? [] : [listenPort])))
    if (this.#main !== undefined) wanted.delete(this.#main.port)
    for (const [port, { listener }] of [...this.#extra]) {
      if (wanted.has(port)) this.#tell(listener, this.#awaitedAt(port))
      else {
        this.#extra.delete(port)
        void listener?.close()
      }
    }
    for (const port of wanted) if (!this.#extra.has(port)) this.#want(port)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    const open = [this.#main, ...[...this.#extra.values()].map(({ listener }) => listener)]
    this.#extra.clear()
    await Promise.all([...open.map((listener) => listener?.close()), ...this.#opening.values()])
  }

  /** Behind an opening of the same port that is still under way: two at once would be in each other's way. */
  #want(port: number): void {
    const extra: Port = { listener: undefined }
    this.#extra.set(port, extra)
    const before = this.#opening.get(port)
    const opening = (
      before === undefined ? this.#openExtra(port, extra) : before.then(() => this.#openExtra(port, extra))
    ).then(() => {
      if (this.#opening.get(port) === opening) this.#opening.delete(port)
    })
    this.#opening.set(port, opening)
  }

  async #openExtra(port: number, extra: Port): Promise<void> {
    // Nobody may want it any more.
    const isWanted = (): boolean => this.#extra.get(port) === extra && !this.#isClosed
    if (!isWanted()) return
    try {
      const listener = await this.#environment.listen({ ...this.#options, port })
      if (!isWanted()) return void (await listener.close())
      extra.listener = listener
      this.#tell(listener, this.#awaitedAt(port))
    } catch (error) {
      if (!isWanted()) return
      this.#extra.delete(port)
      const problem = `${messageOf(error)}; its neighbors are dialled, and awaited on the other ports`
      this.#options.onProblem(problem)
    }
  }

  #awaitedAt(port: number): readonly AwaitedPeer[] {
    return this.#peers.filter(({ listenPort }) => listenPort === port)
  }

  #tell(listener: Listener | undefined, peers: readonly AwaitedPeer[]): void {
    try {
      listener?.setPeers(peers)
    } catch (error) {
      this.#options.onProblem(`the listener does not know every neighbor's key: ${messageOf(error)}`)
    }
  }
}
