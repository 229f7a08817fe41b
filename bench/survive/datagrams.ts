/** One lasting exchange of datagrams with each Service: what is lost is not sent again, so it is counted. */
import { createSocket, type Socket } from 'node:dgram'
import { datagramServicePort } from './ports.ts'

const everyMs = 100
/** Of our own loop: what came while it stood still is read before it counts as lost. */
const lostAfterTicks = 30

interface Exchange {
  readonly socket: Socket
  /** In which tick it was sent, by number. */
  readonly waiting: Map<number, number>
  isConnected: boolean
  pod: string
  nextMs: number
}

export class Datagrams {
  sent = 0
  lost = 0
  moved = 0
  #tick = 0
  readonly #exchanges: Exchange[] = []

  begin(addresses: readonly string[]): void {
    for (const { socket } of this.#exchanges.splice(0)) socket.close()
    for (const [n, address] of addresses.entries()) {
      const socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 18 })
      const exchange: Exchange = {
        socket,
        waiting: new Map(),
        isConnected: false,
        pod: '',
        nextMs: (n * everyMs) / addresses.length,
      }
      // What ICMP says is counted as what it is: a datagram without an answer.
      socket.on('error', () => {})
      socket.on('message', (message) => this.#answered(exchange, message.toString('latin1')))
      socket.connect(datagramServicePort, address, () => (exchange.isConnected = true))
      this.#exchanges.push(exchange)
    }
  }

  tick(nowMs: number): void {
    this.#tick++
    for (const exchange of this.#exchanges) {
      for (const [number, sentIn] of exchange.waiting) {
        if (this.#tick - sentIn < lostAfterTicks) break
        exchange.waiting.delete(number)
        this.lost++
      }
      if (!exchange.isConnected || nowMs < exchange.nextMs) continue
      exchange.nextMs = Math.max(exchange.nextMs + everyMs, nowMs - everyMs)
      exchange.waiting.set(this.sent, this.#tick)
      exchange.socket.send(String(this.sent++))
    }
  }

  #answered(exchange: Exchange, text: string): void {
    const [pod = '', number] = text.split(' ')
    if (!exchange.waiting.delete(Number(number))) return
    if (exchange.pod !== '' && exchange.pod !== pod) this.moved++
    exchange.pod = pod
  }
}
