/** One request at a time, however a client cuts its octets into packets: the gate against a parser that counts. */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import fc from 'fast-check'
import { Gate } from '../../src/api/gate.ts'
import { waitFor } from '../wait.ts'

const request = (number: number): string => `GET /${number} HTTP/1.1\r\nhost: a\r\n\r\n`

/** The end of a client: what is pushed into it comes to the gate as a packet. */
function openWire(): { readonly socket: Duplex; readonly written: string[] } {
  const written: string[] = []
  const socket = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _encoding, done) => {
      written.push(chunk.toString())
      done()
    },
  })
  return { socket, written }
}

/** What a parser behind the gate meets: requests in their order, and how many it held at once. */
class Parser {
  readonly seen: string[] = []
  most = 0
  isEnded = false
  #text = ''
  #held = 0
  readonly gate: Gate

  constructor(gate: Gate) {
    this.gate = gate
    gate.on('data', (chunk: Buffer) => this.#parse(chunk.toString('latin1')))
    gate.on('end', () => (this.isEnded = true))
  }

  #parse(chunk: string): void {
    this.#text += chunk
    for (let end = this.#text.indexOf('\r\n\r\n'); end >= 0; end = this.#text.indexOf('\r\n\r\n')) {
      this.seen.push(this.#text.slice(0, end + 4))
      this.#text = this.#text.slice(end + 4)
      this.most = Math.max(this.most, ++this.#held)
      this.gate.requested()
      setImmediate(() => {
        this.#held--
        this.gate.answering()
        this.gate.answered()
      })
    }
  }
}

async function passed(packets: readonly string[]): Promise<Parser> {
  const { socket } = openWire()
  const parser = new Parser(new Gate(socket as unknown as Socket))
  for (const packet of packets) socket.push(Buffer.from(packet, 'latin1'))
  socket.push(null)
  await waitFor('the end', () => parser.isEnded, { everyMs: 0 })
  return parser
}

/** Text at each of these places in two. */
function cutAt(text: string, places: readonly number[]): readonly string[] {
  const sorted = [...new Set([0, ...places.map((place) => place % text.length), text.length])].sort((a, b) => a - b)
  return sorted.slice(1).map((end, i) => text.slice(sorted[i], end))
}

test('requests come one after another, each after the answer of the one before, however they are cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 6 }),
      fc.array(fc.nat(400), { maxLength: 12 }),
      async (count, places) => {
        const all = Array.from({ length: count }, (_, i) => request(i))
        const parser = await passed(cutAt(all.join(''), places))
        assert.deepEqual(parser.seen, all)
        assert.equal(parser.most, 1)
      },
    ),
    { numRuns: 200 },
  )
})

test('a head whose last octets come alone ends there too: no second request comes with them', async () => {
  const all = [0, 1, 2, 3].map(request)
  for (const left of [1, 2, 3]) {
    const parser = await passed(
      cutAt(
        all.join(''),
        all.map((one, i) => one.length * (i + 1) - left),
      ),
    )
    assert.deepEqual([parser.seen, parser.most], [all, 1], `${left} octets left`)
  }
})

test('octet by octet', async () => {
  const text = request(1) + request(2)
  const parser = await passed([...text])
  assert.deepEqual([parser.seen, parser.most], [[request(1), request(2)], 1])
})

test('the client is heard again only when its request is answered, and the state says which of the two it is', async () => {
  const { socket } = openWire()
  const gate = new Gate(socket as unknown as Socket)
  const states: string[] = []
  gate.on('data', () => {
    gate.requested()
    states.push(gate.state)
  })
  assert.deepEqual([gate.state, gate.hasBegun], ['waiting', false])
  socket.push(request(1) + request(2))
  await waitFor('a request', () => states.length === 1)
  assert.ok(socket.isPaused())
  gate.answering()
  assert.equal(gate.state, 'writing')
  gate.answered()
  assert.deepEqual([gate.state, gate.hasBegun], ['waiting', true])
  await waitFor('the next', () => states.length === 2)
  gate.answered()
  assert.equal(gate.hasBegun, false)
  await waitFor('the client is heard', () => !socket.isPaused())
  assert.deepEqual(states, ['working', 'working'])
})

test('an end in the midst of a request is passed on, and what the handler writes goes to the client', async () => {
  const { socket, written } = openWire()
  const gate = new Gate(socket as unknown as Socket)
  let text = ''
  let isEnded = false
  gate.on('data', (chunk: Buffer) => (text += chunk.toString())).on('end', () => (isEnded = true))
  socket.push('GET / HT')
  socket.push(null)
  await waitFor('the end', () => isEnded)
  assert.equal(text, 'GET / HT')
  gate.end('HTTP/1.1 400\r\n\r\n')
  await waitFor('the answer', () => written.length > 0)
  assert.deepEqual(written, ['HTTP/1.1 400\r\n\r\n'])
})

test('a client that is gone takes the gate along', async () => {
  const { socket } = openWire()
  const gate = new Gate(socket as unknown as Socket)
  socket.destroy(Object.assign(new TypeError('reset'), { code: 'ECONNRESET' }))
  await waitFor('its end', () => gate.destroyed)
})
