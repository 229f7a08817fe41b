/**
 * Messages as five engines really sent them (captures.json). All decode without a problem but for those marked
 * `problem`, which are of sessions where the engine had agreed with its peer on what Herald does not offer:
 * `add-path`   RFC 7911 path identifiers before each prefix, which without that agreement are no prefixes;
 * `next-hop`   IPv6 routes over an IPv4 session with ::1 (OpenBGPD) or ::ffff:a.b.c.d (GoBGP) as next hop.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { type DecodedMessage, decodeMessage } from '../../src/bgp/messages/decode.ts'
import { frameMessage } from '../../src/bgp/messages/header.ts'
import { type CodecContext, type Decoded, ipv4Unicast, ipv6Unicast } from '../../src/bgp/messages/types.ts'
import { encodeMessage } from '../bgp/messages/encode-message.ts'

interface Capture {
  readonly engine: string
  readonly session: 'v4' | 'v6'
  readonly to: string
  readonly type: string
  readonly hex: string
  readonly problem?: 'add-path' | 'next-hop'
}

const captures: readonly Capture[] = JSON.parse(readFileSync(new URL('captures.json', import.meta.url), 'utf8'))
const ctx: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast, ipv6Unicast],
  maxMessageBytes: 4096,
  extendedNextHop: false,
  addPathReceive: [],
}

function decode(bytes: Uint8Array, context = ctx): Decoded<DecodedMessage> {
  const frame = frameMessage(bytes, 0, bytes.length, ctx.maxMessageBytes)
  assert.ok(frame.kind === 'frame' && frame.length === bytes.length, JSON.stringify(frame))
  return decodeMessage(frame.type, frame.body, context)
}

/** What a message means; its octets may differ in how lengths are written. */
function meaning(decoded: Decoded<DecodedMessage>): unknown {
  return decoded.ok ? { ...decoded.value, block: undefined } : decoded
}

const typeNames: Readonly<Record<string, string>> = { OPEN: 'open', UPDATE: 'update', NOTIFICATION: 'notification' }

captures.forEach(({ engine, session, to, type, hex, problem }, i) => {
  const name = `capture ${i}: ${type} of ${engine} to ${to} over ${session}`
  const bytes = Uint8Array.from(Buffer.from(hex, 'hex'))
  if (problem === 'add-path') {
    test(
      `${name} has path identifiers: an invalid network field without negotiation, and prefixes with it (RFC ` +
        `7911 3)`,
      () => {
        const decoded = decode(bytes)
        assert.ok(
          !decoded.ok && decoded.fault.code === 3 && [9, 10].includes(decoded.fault.subcode),
          JSON.stringify(decoded),
        )
        const negotiated = { ...ctx, addPathReceive: ctx.families }
        const paths = decode(bytes, negotiated)
        assert.ok(paths.ok && paths.value.message.type === 'update', JSON.stringify(paths))
        const { nlri, nlriPathIds, mpReach } = paths.value.message
        assert.equal((mpReach?.pathIds ?? nlriPathIds ?? []).length, nlri.length + (mpReach?.prefixes.length ?? 0))
        assert.deepEqual(meaning(decode(encodeMessage(paths.value.message, negotiated), negotiated)), meaning(paths))
      },
    )
    return
  }
  test(
    `${name} decodes${problem === undefined ? '' : ', its IPv6 routes withdrawn for their next hop'}, and ` +
      `encoded again is the same`,
    () => {
      const decoded = decode(bytes)
      assert.ok(decoded.ok, JSON.stringify(decoded))
      const { message, problems } = decoded.value
      assert.equal(message.type, typeNames[type])
      assert.deepEqual(
        problems.map(({ action, attribute }) => [action, attribute]),
        problem === undefined ? [] : [['treat-as-withdraw', 14]],
      )
      assert.deepEqual(meaning(decode(encodeMessage(message, ctx))), meaning(decoded))
    },
  )
})

test('the captures are of every engine and message type that they are meant to be', () => {
  assert.deepEqual([...new Set(captures.map(({ engine }) => engine.split('-')[0]))].sort(), [
    'bird',
    'exabgp',
    'frr',
    'gobgp',
    'openbgpd',
  ])
  assert.deepEqual([...new Set(captures.map(({ type }) => type))].sort(), Object.keys(typeNames).sort())
})
