/**
 * The one listening socket of the process. A connection goes to the neighbor that owns its source address; from any
 * other source it is closed before a byte is read.
 *
 *     peer --SYN--> [::]:179 --source address--> ListenerPeer.accept --> session
 *
 * TCP-MD5 keys of all neighbors lie on the listening socket: the kernel drops a SYN that is not signed with the key of
 * its source, so a wrong key never gets as far as here.
 */
import net from 'node:net'
import { HeraldError, messageOf } from '../../errors.ts'
import { type Address, formatAddress, formatScoped, parseAddress } from '../../ip/address.ts'
import { createListenFd, setListenKey } from '../../sys/tcp-socket.ts'
import type { Listener, ListenerOptions, ListenerPeer } from './environment.ts'
import { SocketTransport } from './socket-transport.ts'

/** Pending connections; one per neighbor and some for strangers. */
const backlog = 128
const refusalEveryMs = 10_000

/** Listens, or rejects with ERR_BGP_LISTEN: then the caller goes on by dialling only. */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const host = parseAddress(options.host)
  if (host === undefined) throw new HeraldError('ERR_BGP_LISTEN', `${options.host} is no address to listen on`)
  const listener = new KeyedListener(host, options)
  try {
    await listener.listen(createListenFd(host, options.port))
  } catch (error) {
    throw new HeraldError(
      'ERR_BGP_LISTEN',
      `cannot listen on ${options.host} port ${options.port}: ${messageOf(error)}`,
      { cause: error },
    )
  }
  return listener
}

class KeyedListener implements Listener {
  readonly #host: Address
  readonly #options: ListenerOptions
  readonly #server: net.Server
  #fd = -1
  /** By address, with the zone of a link-local one: routers on two links may have the same. */
  #peers: ReadonlyMap<string, ListenerPeer> = new Map()
  /** The kernel tells keys apart by address only. */
  readonly #keys = new Map<Address, string>()
  #refusedAt = -Infinity

  constructor(host: Address, options: ListenerOptions) {
    this.#host = host
    this.#options = options
    this.#server = net.createServer((socket) => this.#accept(socket))
  }

  listen(fd: number): Promise<void> {
    this.#fd = fd
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ fd, backlog }, () => {
        this.#server.off('error', reject)
        this.#server.on('error', (error) => this.#options.onProblem?.(`BGP listener: ${error.message}`))
        resolve()
      })
    })
  }

  get port(): number {
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : this.#options.port
  }

  setPeers(peers: readonly ListenerPeer[]): void {
    const bySource = new Map<string, ListenerPeer>()
    const passwords = new Map<Address, string | undefined>()
    for (const peer of peers) {
      const { address, device, password } = peer
      const source = formatScoped(address, device)
      if (bySource.has(source)) continue
      bySource.set(source, peer)
      if (!passwords.has(address)) passwords.set(address, password)
      else if (passwords.get(address) !== password)
        this.#options.onProblem?.(
          `TCP-MD5 key of ${source}: ${formatAddress(address)} on another interface has another one, and the ` +
            `kernel tells keys apart by address only; give both the same`,
        )
    }
    this.#peers = bySource
    for (const address of [...this.#keys.keys()])
      if (passwords.get(address) === undefined) this.#setKey(address, undefined)
    for (const [address, password] of passwords)
      if (password !== undefined && this.#keys.get(address) !== password) this.#setKey(address, password)
  }

  close(): Promise<void> {
    this.#peers = new Map()
    this.#fd = -1
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }

  #setKey(address: Address, password: string | undefined): void {
    if (this.#fd < 0) return
    try {
      setListenKey(this.#fd, this.#host, address, password ?? '')
      if (password === undefined) this.#keys.delete(address)
      else this.#keys.set(address, password)
    } catch (error) {
      // The neighbor with a key that is not in force is not accepted (#accept), the others are undisturbed.
      this.#options.onProblem?.(`TCP-MD5 key of ${formatAddress(address)}: ${messageOf(error)}`)
    }
  }

  #accept(socket: net.Socket): void {
    const source = sourceOf(socket)
    const peer = source === undefined ? undefined : this.#peers.get(source)
    const isKeyed = peer?.password === undefined || this.#keys.get(peer.address) === peer.password
    if (peer !== undefined && isKeyed) {
      peer.accept(new SocketTransport(socket))
      return
    }
    // A reset may already wait; it is of no interest.
    socket.on('error', () => {})
    socket.destroy()
    this.#refused(source ?? 'an unknown source')
  }

  #refused(source: string): void {
    const now = performance.now()
    if (now - this.#refusedAt < refusalEveryMs) return
    this.#refusedAt = now
    this.#options.onRefused(source)
  }
}

/** The peer's address as text; IPv4-mapped ones of a dual-stack socket as IPv4, link-local ones with their zone. */
function sourceOf(socket: net.Socket): string | undefined {
  const [host = '', zone] = (socket.remoteAddress ?? '').replace(/^::ffff:(?=[0-9.]+$)/i, '').split('%')
  const address = parseAddress(host)
  // Node reads the name of an interface as Latin-1.
  return address === undefined ? undefined : formatScoped(address, zone && Buffer.from(zone, 'latin1').toString())
}
