/**
 * Malformed and boundary messages with the action that the RFCs ask for, through framing and codec. What only a
 * session can answer (the state it is in, the configured AS) is listed by id with the reason and runs in
 * live.test.ts, which runs all of them over TCP.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { decodeMessage } from '../../src/bgp/messages/decode.ts'
import { frameMessage } from '../../src/bgp/messages/header.ts'
import { type CodecContext, ipv4Unicast, ipv6Unicast } from '../../src/bgp/messages/types.ts'

interface Vector {
  readonly id: string
  readonly title: string
  readonly phase: 'open' | 'confirm' | 'est'
  readonly send: string
  readonly expect: string
  readonly ref: string
  readonly opt: { readonly as2?: boolean; readonly ibgp?: boolean; readonly ownas?: boolean }
}

/** vectors.json, and what it leaves out of the table it is from. */
const vectors: readonly Vector[] = ['vectors.json', 'boundary.json'].flatMap((file): readonly Vector[] =>
  JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8')),
)

const needsSession: Readonly<Record<string, string>> = {
  O03: 'the configured AS decides',
  O44: 'the state decides: UPDATE before OPEN',
  O45: 'the state decides: KEEPALIVE before OPEN',
  O46: 'the state decides: ROUTE-REFRESH before OPEN',
  R01: 'the speaker ignores a family that was not negotiated',
  C24: 'a NOTIFICATION is taken by closing',
  C25: 'a NOTIFICATION is taken by closing',
  O47: 'the state decides: UPDATE in OpenConfirm',
  O48: 'the state decides: OPEN in Established',
  O49: 'the state decides: NOTIFICATION as the first message',
  A13: "the own AS is the session's: the path is not eligible",
}

/** What the codec makes of a vector, in the words of `expect`. */
function outcome({ send, opt }: Vector): string {
  const ctx: CodecContext = {
    fourOctetAs: opt.as2 !== true,
    isExternal: opt.ibgp !== true,
    families: [ipv4Unicast, ipv6Unicast],
    maxMessageBytes: 4096,
    extendedNextHop: false,
    addPathReceive: [],
  }
  const bytes = Uint8Array.from(Buffer.from(send, 'hex'))
  const frame = frameMessage(bytes, 0, bytes.length, ctx.maxMessageBytes)
  if (frame.kind === 'more') return 'more'
  const decoded =
    frame.kind === 'fault' ? { ok: false as const, fault: frame.fault } : decodeMessage(frame.type, frame.body, ctx)
  if (!decoded.ok)
    return `reset:${decoded.fault.code}/${decoded.fault.subcode}:${Buffer.from(decoded.fault.data).toString('hex')}`
  const actions = decoded.value.problems.map((problem) => problem.action)
  if (actions.includes('treat-as-withdraw')) return 'withdraw'
  if (actions.includes('attribute-discard')) return 'discard'
  return actions.length > 0 ? 'ignore' : 'accept'
}

function fits(found: string, expected: string): boolean {
  return expected.split('|').some((one) => {
    if (!one.startsWith('reset:')) return found === one || (one === 'ignore' && found === 'accept')
    const data = one.split(':')[2]
    return data === undefined ? found.startsWith(`${one}:`) : found === one
  })
}

for (const vector of vectors) {
  if (needsSession[vector.id] !== undefined) continue
  test(`${vector.id} ${vector.title}: ${vector.expect} (${vector.ref})`, () => {
    const found = outcome(vector)
    assert.ok(fits(found, vector.expect), `found ${found}`)
  })
}

test('every vector is run here or named as a matter of the session', () => {
  const ids = new Set(vectors.map((vector) => vector.id))
  assert.deepEqual(
    Object.keys(needsSession).filter((id) => !ids.has(id)),
    [],
  )
  console.log(
    `vectors: ${vectors.length - Object.keys(needsSession).length} of ${vectors.length} through the codec, ` +
      `${Object.keys(needsSession).length} through a session`,
  )
})
