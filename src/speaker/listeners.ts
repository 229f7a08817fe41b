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

type Options = Pick<ListenerOptions, 'host' | 'onRefused'> & { onProblem(message: string): void }

export class Listeners {
  readonly #environment: Environment
  readonly #options: Options
  #main: Listener | undefined
  #peers: readonly AwaitedPeer[] = []
  /** By port; undefined while it is being opened. */
  readonly #extra = new Map<number, Listener | undefined>()
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
    this.#main = await this.#environment.listen({ ...this.#options, port })
    this.#tell(this.#main, this.#peers)
  }

  setPeers(peers: readonly AwaitedPeer[]): void {
    this.#peers = peers
    if (this.#main !== undefined) this.#tell(this.#main, peers)
    const wanted = new Set(peers.flatMap(({ listenPort }) => (listenPort === undefined ? [] : [listenPort])))
    if (this.#main !== undefined) wanted.delete(this.#main.port)
    for (const [port, listener] of [...this.#extra]) {
      if (wanted.has(port)) this.#tell(listener, this.#awaitedAt(port))
      else {
        this.#extra.delete(port)
        void listener?.close()
      }
    }
    for (const port of wanted) if (!this.#extra.has(port)) void this.#openExtra(port)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    const open = [this.#main, ...this.#extra.values()]
    this.#extra.clear()
    await Promise.all(open.map((listener) => listener?.close()))
  }

  async #openExtra(port: number): Promise<void> {
    if (this.#isClosed) return
    this.#extra.set(port, undefined)
    try {
      const listener = await this.#environment.listen({ ...this.#options, port })
      // Nobody may want it any more.
      if (!this.#extra.has(port) || this.#extra.get(port) !== undefined) return void listener.close()
      this.#extra.set(port, listener)
      this.#tell(listener, this.#awaitedAt(port))
    } catch (error) {
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
