/** Everything that was said on a link, as tcpdump records it and tshark, a second decoder, understands it. */
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { waitFor } from '../wait.ts'
import { hasEnded, type Link } from './link.ts'

export class Capture {
  readonly #link: Link
  readonly #files: string[] = []
  #tcpdump: ChildProcess | undefined

  constructor(link: Link) {
    this.#link = link
  }

  /** Records to a file of its own, until the next one. */
  async next(): Promise<void> {
    await this.stop()
    const file = join(this.#link.directory, `bgp-${this.#files.length}.pcap`)
    this.#files.push(file)
    const tcpdump = this.#link.spawn(
      'router',
      'tcpdump',
      '-i',
      'eth0',
      '-U',
      '-s',
      '0',
      '-w',
      file,
      'tcp',
      'port',
      '179',
    )
    this.#tcpdump = tcpdump
    await new Promise<void>((resolve) => tcpdump.stderr?.once('data', () => resolve()))
  }

  async stop(): Promise<void> {
    const tcpdump = this.#tcpdump
    if (tcpdump === undefined) return
    tcpdump.kill('SIGINT')
    await waitFor('tcpdump ended', () => hasEnded(tcpdump))
  }

  /**
   * Of the recording under way: a line for each frame that the filter takes, the values of the fields with tabs
   * between.
   */
  frames(filter: string, ...fields: readonly string[]): Promise<readonly string[]> {
    return this.#read(this.#files.at(-1) ?? '', filter, fields)
  }

  /** Of all that was recorded. */
  async allFrames(filter: string, ...fields: readonly string[]): Promise<readonly string[]> {
    const whole = join(this.#link.directory, 'whole.pcap')
    await this.#link.in('router', 'mergecap', '-w', whole, ...this.#files)
    return this.#read(whole, filter, fields)
  }

  async #read(file: string, filter: string, fields: readonly string[]): Promise<readonly string[]> {
    const output = await this.#link.attempt(
      'router',
      'tshark',
      '-r',
      file,
      '-Y',
      filter,
      '-T',
      'fields',
      ...['frame.number', ...fields].flatMap((field) => ['-e', field]),
    )
    return output.split('\n').filter(Boolean)
  }
}
