/** Two witnesses that run beside the rack: every change of a router's routes, and every frame of a session. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import { HeraldError } from '../src/errors.ts'
import { run } from './namespaces.ts'
import type { Lab } from './runner.ts'

/** Lines of `ip monitor route` on a router since the start; a withdrawn route starts with `Deleted`. */
export class RouteMonitor {
  readonly lines: string[] = []
  /** When the last line came, ms of the clock that all processes share. */
  lastAtMs = 0
  readonly #child: ChildProcess

  constructor(lab: Lab, router: string) {
    this.#child = lab.node(router).start(['ip', '-oneline', 'monitor', 'route'])
    if (this.#child.stdout === null) return
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.lastAtMs = Number(process.hrtime.bigint()) / 1e6
      this.lines.push(line)
    })
  }

  about(prefix: string): string[] {
    // Host routes are printed without their length.
    const plain = prefix.replace(/\/(32|128)$/, '')
    return this.lines.filter((line) => line.split(/\s+/).some((word) => word === plain || word === prefix))
  }

  stop(): void {
    this.#child.kill('SIGTERM')
  }
}

export interface CaptureSummary {
  readonly frames: number
  readonly malformed: number
  /** BGP message name to how many there were. */
  readonly messages: Readonly<Record<string, number>>
}

const messageNames: Readonly<Record<string, string>> = {
  '1': 'OPEN',
  '2': 'UPDATE',
  '3': 'NOTIFICATION',
  '4': 'KEEPALIVE',
  '5': 'ROUTE-REFRESH',
}

/** A capture of TCP port 179 on one interface of a node, decoded by tshark. */
export class Capture {
  readonly file: string
  readonly #child: ChildProcess

  private constructor(file: string, child: ChildProcess) {
    this.file = file
    this.#child = child
  }

  /** Resolves when tcpdump listens, so that the first SYN is in the file. */
  static async start(lab: Lab, node: string, interfaceName: string): Promise<Capture> {
    const file = join(lab.workFolder, `${node}-${interfaceName}.pcap`)
    const child = lab
      .node(node)
      .start([
        'sh',
        '-c',
        'exec tcpdump --immediate-mode -U -Z root -i "$1" -w "$2" tcp port 179 2>&1',
        'sh',
        interfaceName,
        file,
      ])
    if (child.stdout === null) throw new HeraldError('ERR_LAB', 'tcpdump has no output')
    for await (const line of createInterface({ input: child.stdout }))
      if (line.includes('listening on')) return new Capture(file, child)
    throw new HeraldError('ERR_LAB', `tcpdump did not start on ${node} ${interfaceName}`)
  }

  /** Ends the capture and answers what tshark makes of it. */
  async decode(): Promise<CaptureSummary> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, 'exit')
      this.#child.kill('SIGTERM')
      await ended
    }
    const fields = ['-T', 'fields', '-E', 'separator=;', '-e', 'bgp.type', '-e', '_ws.malformed']
    const decoded = await run(['tshark', '-r', this.file, '-Y', 'bgp || _ws.malformed', ...fields], {
      timeoutMs: 60_000,
    })
    if (decoded.code !== 0) throw new HeraldError('ERR_LAB', `tshark: ${decoded.stderr.trim()}`)
    const rows = decoded.stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(';'))
    const messages: Record<string, number> = {}
    for (const type of rows.flatMap(([types = '']) => types.split(','))) {
      const name = messageNames[type] ?? `type ${type}`
      messages[name] = (messages[name] ?? 0) + 1
    }
    return { frames: rows.length, malformed: rows.filter(([, malformed = '']) => malformed !== '').length, messages }
  }
}
