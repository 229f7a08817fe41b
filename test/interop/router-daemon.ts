/**
 * A real routing daemon in the namespace `router`: five engines, one language.
 *
 *     scenario --start(setup)--> configuration text --> process --answers--> sessions, routes received, what it logged
 *
 * Sessions are named by their transport. A daemon that has nothing to say about a fact answers undefined.
 */
import type { ChildProcess } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { waitFor } from '../wait.ts'
import { hasEnded, isAlive, type Link, signalFile, signalGroup } from './link.ts'
import type { Peering, Transport } from './peering.ts'

export const routerNames = ['FRR', 'BIRD', 'GoBGP', 'OpenBGPD', 'ExaBGP'] as const
export type RouterName = (typeof routerNames)[number]

export interface RouterSetup {
  readonly peerings: readonly Peering[]
  /** What the router announces beside its own two networks; IPv4. */
  readonly networks?: readonly string[]
  /** It takes up the sessions of one that was killed (RFC 4724 R bit). */
  readonly isRestart?: boolean
}

/** A route of Herald as the router has it. */
export interface RouterRoute {
  readonly nextHop: string
  /** AS numbers with blanks between. */
  readonly asPath: string
  /** `65000:100` */
  readonly communities: readonly string[]
  readonly largeCommunities: readonly string[]
  readonly med?: number
  /** Kept over a restart of Herald (RFC 4724 4.2); undefined: the daemon does not tell. */
  readonly isStale?: boolean
}

export abstract class RouterDaemon {
  abstract readonly name: RouterName
  abstract readonly asn: number
  /** The AS that Herald has for it. */
  readonly heraldAsn: number = 65_001
  /** Announced on every session that carries the family. */
  abstract readonly ownNetworks: { readonly ipv4: string; readonly ipv6: string }
  protected readonly link: Link
  protected readonly directory: string
  readonly #pidFiles = new Set<string>()
  readonly #children = new Set<ChildProcess>()
  protected log = ''

  constructor(link: Link) {
    this.link = link
    this.directory = join(link.directory, 'router')
    mkdirSync(this.directory, { recursive: true })
  }

  /** Starts it with this configuration; resolves when it answers. */
  abstract start(setup: RouterSetup): Promise<void>
  abstract isEstablished(session: Transport): Promise<boolean>
  abstract establishedCount(): Promise<number>
  /** A route that Herald has sent on a session; IPv4 and IPv6. */
  abstract route(session: Transport, prefix: string): Promise<RouterRoute | undefined>
  /** Asks Herald for its routes once more (RFC 2918). */
  abstract requestRefresh(session: Transport): Promise<void>
  /**
   * Ends the session with Cease/Administrative Reset (6/4); it comes back by itself. The text where the daemon takes
   * one.
   */
  abstract reset(session: Transport, text: string): Promise<void>
  abstract resetAll(): Promise<void>
  /** Ends the session with Cease/Administrative Shutdown (6/2) for good. */
  abstract shutdown(session: Transport, text: string): Promise<void>
  /** Whether its BFD session with Herald is up; undefined: it has none. */
  async isBfdUp(_session: Transport): Promise<boolean | undefined> {
    return undefined
  }

  /** Everything that it says of a session, and its log. */
  abstract report(session: Transport): Promise<string>

  /** To all of its processes. */
  signal(signal: NodeJS.Signals): void {
    for (const pidFile of this.#pidFiles) signalFile(pidFile, signal)
    for (const child of this.#children) signalGroup(child, signal)
  }

  /** Kills it without a chance to say anything. */
  async kill(): Promise<void> {
    this.signal('SIGKILL')
    await waitFor(
      `${this.name} gone`,
      () => [...this.#pidFiles].every((pidFile) => !isAlive(pidFile)) && [...this.#children].every(hasEnded),
    )
    this.#pidFiles.clear()
    this.#children.clear()
  }

  protected file(name: string): string {
    return join(this.directory, name)
  }

  /** Runs a program that goes to the background and writes its pid there. */
  protected async background(pidFile: string, ...command: readonly string[]): Promise<void> {
    rmSync(pidFile, { force: true })
    this.link.adopt(pidFile)
    this.#pidFiles.add(pidFile)
    await this.link.in('router', ...command)
  }

  /** Runs a program that stays in the foreground; what it prints is its log. */
  protected foreground(...command: readonly string[]): void {
    const child = this.link.spawn('router', ...command)
    this.#children.add(child)
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => (this.log += chunk.toString()))
  }
}

/** Lines of a configuration; what is false or undefined is left out. */
export const lines = (...given: readonly (string | false | undefined)[]): string =>
  given.filter((line) => line !== false && line !== undefined && line !== '').join('\n')
