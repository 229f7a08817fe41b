/**
 * A stream that a server ends in the midst of an answer by RST_STREAM without an error code (RFC 9113 8.1), which
 * node:http2 reports as its end: what is not whole is no answer, whoever asked. Frames are written here as they go on
 * the wire, since the server of node:http2 ends such a stream first.
 */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import { systemClock } from '../../../src/clock/system-clock.ts'
import { Turn } from '../../../src/clock/turn.ts'
import { readOnce } from '../../../src/k8s/apiserver/inventory.ts'
import { Reflector } from '../../../src/k8s/apiserver/reflector.ts'
import { ApiRequests } from '../../../src/k8s/apiserver/requests.ts'
import { statusOnServer } from '../../../src/k8s/apiserver/status-writer.ts'
import { connectTransport, type Transport } from '../../../src/k8s/apiserver/transport.ts'
import { waitFor } from '../../wait.ts'
import { certificate, listening, privateKey } from './fake-server.ts'

const [data, headers, rstStream, settings] = [0, 1, 3, 4]
const [endStream, acknowledged, endHeaders] = [1, 1, 4]
const statusOk = Buffer.from([0x88])
const prefaceLength = 24
const headLength = 9

interface Answer {
  readonly text: string
  readonly isReset: boolean
}

let server: Server
let transport: Transport
/** The next answer; the last one is given for ever. */
let answers: Answer[]
let asked = 0

function frame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(headLength)
  head.writeUIntBE(payload.length, 0, 3)
  head.writeUInt8(type, 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

function serve(socket: TLSSocket): void {
  let [read, isBegun] = [Buffer.alloc(0), false]
  socket.on('error', () => undefined)
  socket.write(frame(settings, 0, 0, Buffer.alloc(0)))
  socket.on('data', (chunk: Buffer) => {
    read = Buffer.concat([read, chunk])
    if (!isBegun && read.length >= prefaceLength) [read, isBegun] = [read.subarray(prefaceLength), true]
    while (isBegun && read.length >= headLength && read.length >= headLength + read.readUIntBE(0, 3)) {
      const [length, type, flags, stream] = [read.readUIntBE(0, 3), read[3], read[4], read.readUInt32BE(5)]
      read = read.subarray(headLength + length)
      if (type === settings && flags !== acknowledged) socket.write(frame(settings, acknowledged, 0, Buffer.alloc(0)))
      else if (type === headers) answer(socket, stream)
    }
  })
}

function answer(socket: TLSSocket, stream: number): void {
  asked++
  const [{ text, isReset } = { text: '', isReset: true }] = answers.length > 1 ? answers.splice(0, 1) : answers
  const end = isReset ? frame(rstStream, 0, stream, Buffer.alloc(4)) : frame(data, endStream, stream, Buffer.alloc(0))
  const body = frame(data, 0, stream, Buffer.from(text))
  socket.write(Buffer.concat([frame(headers, endHeaders, stream, statusOk), body, end]))
}

beforeEach(async () => {
  server = createServer({ key: privateKey, cert: certificate, ALPNProtocols: ['h2'] }, serve)
  asked = 0
  transport = connectTransport({
    server: new URL(`https://127.0.0.1:${await listening(server)}`),
    detail: 'a test',
    headers: async () => ({}),
    judged: () => undefined,
    tls: async () => ({ ca: certificate }),
    renew: () => undefined,
  })
})

afterEach(async () => {
  await transport.close()
  await new Promise((resolve) => server.close(resolve))
})

const object = (name: string): object => ({ metadata: { name, namespace: 'default', uid: name, resourceVersion: '7' } })
const list = JSON.stringify({ kind: 'List', metadata: { resourceVersion: '7' }, items: [object('a'), object('b')] })
const cut = (text: string, at: number): Answer => ({ text: text.slice(0, at), isReset: true })
const whole = (text: string): Answer => ({ text, isReset: false })

test('an object, a list and what a write is answered are none where they are cut, wherever that is', async () => {
  const requests = new ApiRequests(transport, 10_000)
  for (const at of [0, 1, list.indexOf('"items"'), list.indexOf('{"metadata":{"name":"b"'), list.length - 1]) {
    answers = [cut(list, at)]
    const { status, message } = await requests.get('/api/v1/services')
    assert.deepEqual([status, message], [0, 'the answer of the API server is no whole JSON object'])
    const wanted = { kind: 'Service', versions: ['v1'], place: 'services' }
    await assert.rejects(readOnce(requests, wanted), { code: 'ERR_API_SERVER' })
    const target = { apiVersion: 'v1', kind: 'Service', resource: 'services', namespace: 'default', name: 'a' }
    const write = { target: { ...target, uid: 'a', resourceVersion: '7' }, status: {} }
    assert.equal((await statusOnServer(requests, 'test').apply(write)).kind, 'failed')
  }
  // What is whole is an answer, however its stream ends.
  answers = [cut(list, list.length)]
  assert.equal((await requests.get('/api/v1/services')).status, 200)
})

test('a list that is cut is read again, and of a watch the line that is cut is no object', async () => {
  const line = (type: string, name: string, resourceVersion: string): string => {
    const spec = { resourceVersion }
    return `${JSON.stringify({ type, object: { metadata: { name, namespace: 'default', uid: name, ...spec } } })}\n`
  }
  const [added, deleted] = [line('ADDED', 'c', '8'), line('DELETED', 'a', '9')]
  answers = [
    ...[1, list.indexOf('{"metadata":{"name":"b"'), list.length - 1].map((at) => cut(list, at)),
    whole(list),
    // Without its line end alone.
    cut(added + deleted, added.length + deleted.length - 1),
    // Whether the version is still there.
    whole(list.replaceAll('"7"', '"8"')),
    whole(deleted),
    whole(list),
  ]
  const said: string[] = []
  const reflector: Reflector = new Reflector({
    resource: { kind: 'Service', places: [{ apiVersion: 'v1', path: '/api/v1/services' }] },
    transport,
    clock: systemClock,
    turn: new Turn(systemClock, 3),
    random: () => 0,
    events: {
      upsert: ({ name }) => void said.push(`+${name}`),
      remove: ({ name }) => void said.push(`-${name} after ${asked}`),
      relistBegins: () => undefined,
      relistEnds: () => undefined,
      changed: () => undefined,
      stateChanged: () => undefined,
    },
  })
  const running = reflector.run()
  await waitFor('what was said whole is taken', () => said.some((each) => each.startsWith('-')))
  reflector.stop()
  await running
  assert.deepEqual(
    said.filter((each, at) => said.indexOf(each) === at),
    ['+a', '+b', '+c', '-a after 7'],
  )
})
