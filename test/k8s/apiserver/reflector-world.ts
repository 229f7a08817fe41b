/** One kind of a misbehaving server, a reflector of it, and what a reader of its events believes to be there. */
import type { Clock } from '../../../src/clock/clock.ts'
import { systemClock } from '../../../src/clock/system-clock.ts'
import { Turn } from '../../../src/clock/turn.ts'
import { Reflector } from '../../../src/k8s/apiserver/reflector.ts'
import { connectTransport, type Transport } from '../../../src/k8s/apiserver/transport.ts'
import { waitFor } from '../../wait.ts'
import { FakeApiServer, type Request } from './fake-server.ts'

export const path = '/api/v1/services'
const pingMs = 500

export const isList = ({ query }: Pick<Request, 'query'>): boolean => !query.has('watch')
export const isWatch = ({ query }: Pick<Request, 'query'>): boolean => query.has('watch')

/** A system's clock that is faster by a factor. */
export function fasterClock(factor: number): Clock {
  const { after, monotonic } = systemClock
  return { ...systemClock, monotonic: () => monotonic() * factor, after: (ms, action) => after(ms / factor, action) }
}

export class ReflectorWorld {
  readonly server: FakeApiServer
  readonly transport: Transport
  readonly objects = new Map<string, unknown>()
  readonly removed: string[] = []
  /** Every upsert, as `name version`. */
  readonly delivered: string[] = []
  readonly problems: string[] = []
  /** Both in order: `+name version` and `-name`. */
  readonly log: string[] = []
  relists = 0
  #reflectors: { readonly reflector: Reflector; readonly running: Promise<void> }[] = []

  static async start(): Promise<ReflectorWorld> {
    const server = new FakeApiServer()
    return new ReflectorWorld(server, connectTransport(await server.start(), pingMs))
  }

  private constructor(server: FakeApiServer, transport: Transport) {
    this.server = server
    this.transport = transport
  }

  async end(): Promise<void> {
    for (const { reflector } of this.#reflectors) reflector.stop()
    await Promise.all(this.#reflectors.map(({ running }) => running))
    await this.transport.close()
    await this.server.stop()
  }

  begin(places = [{ apiVersion: 'v1', path }], clock: Clock = systemClock): Reflector {
    const reflector: Reflector = new Reflector({
      resource: { kind: 'Service', places },
      transport: this.transport,
      clock,
      turn: new Turn(clock, 3),
      random: () => 0.5,
      events: {
        upsert: ({ name }, object, { resourceVersion }) => {
          this.objects.set(name, object['spec'])
          this.delivered.push(`${name} ${resourceVersion}`)
          this.log.push(`+${name} ${resourceVersion}`)
        },
        remove: ({ name }) => {
          this.objects.delete(name)
          this.removed.push(name)
          this.log.push(`-${name}`)
        },
        relistBegins: () => void this.relists++,
        relistEnds: () => undefined,
        changed: () => undefined,
        stateChanged: () => void this.problems.push(reflector.state.problem ?? ''),
      },
    })
    this.#reflectors.push({ reflector, running: reflector.run() })
    return reflector
  }

  isWatched(at = path): Promise<unknown> {
    return waitFor('it is watched', () => this.server.watches(at) > 0)
  }

  has(name: string): Promise<unknown> {
    return waitFor(`${name} is there`, () => this.objects.has(name))
  }

  get watchesAsked(): readonly (string | null)[] {
    return this.server.requests.filter(isWatch).map(({ query }) => query.get('resourceVersion'))
  }

  /** The next request that `isMeant` picks is dealt with by `fault`, once. */
  once(fault: (request: Request) => void, isMeant: (request: Request) => boolean = () => true): void {
    this.server.fault = (request) => {
      if (!isMeant(request)) return false
      this.server.fault = () => false
      fault(request)
      return true
    }
  }
}
