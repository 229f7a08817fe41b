/**
 * What load balancers ask a node, in the place of kube-proxy: whether it has pods of a Service with
 * `externalTrafficPolicy: Local`, at the `healthCheckNodePort` of it, and whether its proxy lives, at 10256. Anybody
 * may ask: each port has few connections, all have not many more, one request at a time each, and they are answered
 * without looking anything up.
 */
import http from 'node:http'
import type { Clock } from '../clock/clock.ts'
import { Due } from '../clock/due.ts'
import { messageOf } from '../errors.ts'
import { Connections, type Crowd, expectations, parserOptions, refuse } from './connections.ts'
import { Gate } from './gate.ts'

/** As of kube-proxy. */
const proxyPort = 10_256
const limits = { maxConnections: 16, requestMs: 5_000, idleMs: 30_000, answerMs: 5_000 }
/** Of all ports: whoever connects to each of them takes no more of the agent's memory. */
const mostConnections = 512
/** A port that something else has may be free later. */
const retryMs = 5_000
/** Whoever may write Services opens no more of them. */
const maxPorts = 2_048

export interface ServiceCheck {
  readonly port: number
  /** Ready pods of it on this node. */
  readonly localEndpoints: number
}

export interface HealthCheckParts {
  readonly clock: Pick<Clock, 'after' | 'soon' | 'now'>
  /** Packets for Services are served here. */
  readonly isHealthy: () => boolean
  /** New connections may be sent here. */
  readonly isEligible: () => boolean
  /** Where node ports are served: nobody is answered elsewhere, but at 10256. */
  readonly addresses: () => readonly string[]
  readonly proxyPort?: number
}

interface Answer {
  readonly status: 200 | 503
  readonly body: object
  readonly headers?: Readonly<Record<string, string>>
}

interface Open {
  readonly connections: Connections
  problem: string | undefined
}

export class HealthChecks {
  readonly #parts: HealthCheckParts
  readonly #proxyPort: number
  /** By Service. */
  readonly #wanted = new Map<string, ServiceCheck>()
  /** By port, the Services that have it: of a folder there may be several, and the first by name is told of. */
  readonly #services = new Map<number, readonly string[]>()
  readonly #open = new Map<number, Open>()
  readonly #crowd: Crowd = { gates: new Set(), most: mostConnections }
  readonly #retries: Due
  #isOn = false
  #lastHealthy = ''

  constructor(parts: HealthCheckParts) {
    this.#parts = parts
    this.#proxyPort = parts.proxyPort ?? proxyPort
    this.#retries = new Due(parts.clock, () => this.#retry())
  }

  /** Whether the place of kube-proxy is taken: 10256 is its own otherwise. */
  setOn(isOn: boolean): void {
    if (isOn === this.#isOn) return
    this.#isOn = isOn
    if (isOn) this.#listen(this.#proxyPort)
    else this.#leave(this.#proxyPort)
  }

  /** undefined: nobody is to be answered about the Service. */
  want(service: string, check: ServiceCheck | undefined): void {
    const before = this.#wanted.get(service)
    if (check === undefined) this.#wanted.delete(service)
    else this.#wanted.set(service, check)
    if (before?.port === check?.port) return
    if (before !== undefined) this.#setClaims(before.port, (all) => all.filter((each) => each !== service))
    if (check !== undefined) this.#setClaims(check.port, (all) => [...all, service].sort())
  }

  #setClaims(port: number, change: (all: readonly string[]) => readonly string[]): void {
    const services = change(this.#services.get(port) ?? [])
    if (services.length > 0) this.#services.set(port, services)
    else this.#services.delete(port)
    if (services.length > 0) this.#listen(port)
    else this.#leave(port)
  }

  /** Ports at which nobody is answered, and why. */
  problems(): readonly string[] {
    const failed = [...this.#open].flatMap(([port, { problem }]) =>
      problem === undefined ? [] : [`health checks: port ${port}: ${problem}`],
    )
    const [first, ...others] = failed
    const more = others.length === 0 ? '' : `, and ${others.length} other ports`
    const isFull = this.#services.size > this.#open.size
    return [
      ...(first === undefined ? [] : [`${first}${more}`]),
      ...(isFull ? [`health checks: more than ${maxPorts} Services ask for a port; the others are not answered`] : []),
    ]
  }

  async close(): Promise<void> {
    const all = [...this.#open.values()]
    this.#open.clear()
    this.#services.clear()
    this.#isOn = false
    await Promise.all(all.map(({ connections }) => connections.close()))
  }

  #listen(port: number): void {
    if (this.#open.has(port) || this.#open.size >= maxPorts) return
    const server = http.createServer(parserOptions, (request, response) => this.#answer(port, request, response))
    for (const event of expectations) server.on(event, (request, response) => this.#answer(port, request, response))
    const refusal = (): { readonly type: string; readonly body: string } => ({ type: 'text/plain', body: '' })
    server.on('clientError', (error, connection) => refuse(error, connection, refusal))
    const open: Open = { connections: new Connections(server, limits, this.#crowd), problem: undefined }
    this.#open.set(port, open)
    const { listener } = open.connections
    listener.on('error', (error) => {
      open.problem = messageOf(error)
      this.#retries.after(retryMs)
    })
    listener.on('listening', () => (open.problem = undefined))
    listener.listen(port)
  }

  #leave(port: number): void {
    if (port === this.#proxyPort ? this.#isOn : this.#services.has(port)) return
    const open = this.#open.get(port)
    this.#open.delete(port)
    void open?.connections.close()
    for (const next of this.#services.keys()) if (this.#open.size < maxPorts) this.#listen(next)
  }

  #retry(): void {
    for (const [port, { connections, problem }] of this.#open)
      if (problem !== undefined && !connections.listener.listening) connections.listener.listen(port)
  }

  #answer(port: number, request: http.IncomingMessage, response: http.ServerResponse): void {
    const gate = request.socket
    if (!(gate instanceof Gate)) return void request.destroy()
    gate.requested()
    response.once('close', () => gate.answered())
    const answer = port === this.#proxyPort ? this.#ofProxy(request.url) : this.#ofService(port, gate)
    gate.answering()
    if (answer === undefined) return void gate.destroy()
    const body = `${JSON.stringify(answer.body)}\n`
    response.writeHead(answer.status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      ...answer.headers,
    })
    response.end(request.method === 'HEAD' ? undefined : body)
  }

  #ofService(port: number, { socket: { localAddress = '' } }: Gate): Answer | undefined {
    const [service = ''] = this.#services.get(port) ?? []
    const check = this.#wanted.get(service)
    const isHere = this.#parts.addresses().includes(localAddress.replace(/^::ffff:(?=[0-9.]+$)/, ''))
    if (check === undefined || !isHere) return undefined
    const isHealthy = this.#parts.isHealthy()
    const [namespace, name] = service.split('/')
    const { localEndpoints } = check
    return {
      status: isHealthy && localEndpoints > 0 ? 200 : 503,
      body: { service: { namespace, name }, localEndpoints, serviceProxyHealthy: isHealthy },
      headers: { 'x-load-balancing-endpoint-weight': String(localEndpoints) },
    }
  }

  /** `/livez` is about the proxy alone, everything else also about whether the node is to be used. */
  #ofProxy(url = ''): Answer {
    const { clock, isHealthy, isEligible } = this.#parts
    const now = new Date(clock.now()).toISOString()
    const isWell = isHealthy()
    if (isWell || this.#lastHealthy === '') this.#lastHealthy = now
    const [lastUpdated, nodeEligible] = [this.#lastHealthy, isEligible()]
    const isAbout = /^\/livez(\?|$)/.test(url) ? isWell : isWell && nodeEligible
    return { status: isAbout ? 200 : 503, body: { lastUpdated, currentTime: now, nodeEligible } }
  }
}
