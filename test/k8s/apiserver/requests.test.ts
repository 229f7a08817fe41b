/** Single requests over a connection that answers what a test wants, at the time of a clock that a test turns. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { VirtualClock } from '../../../src/clock/virtual-clock.ts'
import { ApiRequests, isSuccess, type Reply } from '../../../src/k8s/apiserver/requests.ts'
import type { Answer, Change, Transport } from '../../../src/k8s/apiserver/transport.ts'

class ScriptedTransport implements Transport {
  readonly asked: (string | Change)[] = []
  renewals = 0
  /** Whose answer is awaited. */
  answer: (answer: Answer | Error) => void = () => {}

  get(path: string, signal: AbortSignal): Promise<Answer> {
    return this.#ask(path, signal)
  }

  change(change: Change, signal: AbortSignal): Promise<Answer> {
    return this.#ask(change, signal)
  }

  renew(): void {
    this.renewals++
  }

  async close(): Promise<void> {}

  #ask(what: string | Change, signal: AbortSignal): Promise<Answer> {
    this.asked.push(what)
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason))
      this.answer = (answer) => (answer instanceof Error ? reject(answer) : resolve(answer))
    })
  }
}

async function* pieces(...chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks
}

const said = (status: number, text: string, more: Partial<Answer> = {}): Answer => ({
  status,
  retryAfterSec: undefined,
  body: pieces(Buffer.from(text)),
  ...more,
})

/** What comes of a request that is answered so. */
async function reply(answer: Answer | Error): Promise<Reply> {
  const transport = new ScriptedTransport()
  const clock = new VirtualClock()
  const asked = new ApiRequests(transport, 4_000, clock).get('/api')
  transport.answer(answer)
  const found = await asked
  assert.equal(clock.pending, 0, 'nothing waits behind an answer')
  return found
}

test('an answer is its status, its object and, where it is no success, the words of the server', async () => {
  assert.deepEqual(await reply(said(200, '{"a":1}', { dateMs: 5 })), {
    ...{ status: 200, object: { a: 1 }, message: '', retryAfterSec: undefined, dateMs: 5 },
  })
  const refused = await reply(said(409, '{"message":"the object has been modified"}', { retryAfterSec: 3 }))
  assert.deepEqual([refused.status, refused.message, refused.retryAfterSec], [409, 'the object has been modified', 3])
  assert.equal((await reply(said(201, '{"message":"is no fault"}'))).message, '')
})

test('what is no JSON object is an empty one, and the status speaks for itself', async () => {
  for (const text of ['', '<html>', '[1]', 'null', '7', '"text"', '{"message":7}', '{"message":""}', '{']) {
    const { message, object, status } = await reply(said(502, text))
    assert.deepEqual([status, message], [502, 'the API server answers 502'], text)
    assert.equal(typeof object, 'object')
  }
})

test('a character that is cut by a packet is whole, wherever it is cut', async () => {
  const octets = Buffer.from('{"message":"größer als 1 \u{1f40d}"}')
  await fc.assert(
    fc.asyncProperty(fc.nat(octets.length), async (at) => {
      const body = pieces(octets.subarray(0, at), octets.subarray(at))
      assert.equal((await reply({ ...said(422, ''), body })).message, 'größer als 1 \u{1f40d}')
    }),
  )
})

test('an answer without an end costs a bounded memory, and is none', async () => {
  let taken = 0
  async function* endless(): AsyncGenerator<Uint8Array> {
    const chunk = Buffer.alloc(2 ** 20, 0x20)
    for (;;) {
      taken++
      yield chunk
    }
  }
  const found = await reply({ ...said(200, ''), body: endless() })
  assert.deepEqual([found.status, found.object], [0, {}])
  assert.ok(taken <= 6, `${taken} MiB were read`)
})

test('a request that fails is answered 0 with the reason, and never rejects', async () => {
  const failed = await reply(new Error('connect ECONNREFUSED'))
  assert.deepEqual([failed.status, failed.message, failed.object], [0, 'connect ECONNREFUSED', {}])
})

test('a body that breaks off is no answer: whether the change was made is not known', async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('{"kind":')
    throw new Error('stream reset')
  }
  const found = await reply({ ...said(200, ''), body: broken() })
  assert.deepEqual([found.status, found.message], [0, 'stream reset'])
})

test('who does not answer in time is given up, and the next one goes over a new connection', async () => {
  const transport = new ScriptedTransport()
  const clock = new VirtualClock()
  const change: Change = { method: 'PATCH', path: '/x', contentType: 'application/json', body: '{}' }
  const asked = new ApiRequests(transport, 4_000, clock).change(change)
  clock.advance(3_999)
  assert.equal(transport.renewals, 0)
  clock.advance(1)
  assert.deepEqual(await asked, {
    ...{ status: 0, object: {}, message: 'no answer within 4 s', retryAfterSec: undefined },
  })
  assert.deepEqual([transport.asked, transport.renewals, clock.pending], [[change], 1, 0])
})

test('a body that stops in its midst is given up as an answer that does not come', async () => {
  const transport = new ScriptedTransport()
  const clock = new VirtualClock()
  const asked = new ApiRequests(transport, 4_000, clock).get('/api')
  let end: (error: Error) => void = () => {}
  const stuck = async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.from('{')
    await new Promise((_, reject) => (end = reject))
  }
  transport.answer({ ...said(200, ''), body: stuck() })
  await new Promise(setImmediate)
  clock.advance(4_000)
  end(new Error('aborted'))
  assert.equal((await asked).message, 'no answer within 4 s')
  assert.equal(transport.renewals, 1)
})

test('an answer that came while the process stood still is taken, and the connection is kept', async () => {
  const transport = new ScriptedTransport()
  const clock = new VirtualClock()
  const asked = new ApiRequests(transport, 4_000, clock).get('/api')
  clock.standStill(600_000)
  transport.answer(said(200, '{"kind":"Lease"}'))
  assert.deepEqual([(await asked).status, transport.renewals], [200, 0])
})

test('success is 200 to 299', () => {
  for (const status of [0, 100, 199, 300, 304, 400, 500]) assert.equal(isSuccess(status), false, String(status))
  for (const status of [200, 201, 202, 204, 299]) assert.equal(isSuccess(status), true, String(status))
})
