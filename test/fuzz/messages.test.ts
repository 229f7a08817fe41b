/**
 * Nothing that a peer can send makes the codec throw, hang, read past the message or give a value that it could not
 * send itself. The corpus is what engines really sent and the malformed vectors; HERALD_FUZZ_MESSAGES asks for more
 * messages than the suite has time for, HERALD_FUZZ_SEED for others.
 */
import { MessageType } from '../../src/bgp/messages/numbers.ts'
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { type DecodedMessage, decodeMessage } from '../../src/bgp/messages/decode.ts'
import { type Frame, frameMessage, wholeUpdate } from '../../src/bgp/messages/header.ts'
import { readPlainUpdate } from '../../src/bgp/messages/plain-update.ts'
import { notificationText } from '../../src/bgp/messages/notification.ts'
import {
  type CodecContext,
  type Decoded,
  ipv4Unicast,
  ipv6Unicast,
  type UpdateMessage,
} from '../../src/bgp/messages/types.ts'
import { encodeMessage } from '../bgp/messages/encode-message.ts'
import { leastSeverity, Severity } from './disposition.ts'
import { mutate, seededRandom } from './mutate.ts'
import { processorMs } from '../processor-time.ts'

const messageCount = Number(process.env['HERALD_FUZZ_MESSAGES'] ?? 1_000_000)
const seed = Number(process.env['HERALD_FUZZ_SEED'] ?? 20250901)

function corpusOf(file: string, key: 'hex' | 'send'): Uint8Array[] {
  const entries: readonly Readonly<Record<string, unknown>>[] = JSON.parse(
    readFileSync(new URL(`../vectors/${file}`, import.meta.url), 'utf8'),
  )
  return entries
    .map((entry) => Uint8Array.from(Buffer.from(String(entry[key]), 'hex')))
    .filter((bytes) => bytes.length > 0)
}

const corpus = [
  ...corpusOf('captures.json', 'hex'),
  ...corpusOf('vectors.json', 'send'),
  ...corpusOf('boundary.json', 'send'),
]

const contexts: readonly CodecContext[] = [true, false].flatMap((fourOctetAs) =>
  [true, false].flatMap((isExternal) =>
    [4096, 65535].map((maxMessageBytes) => ({
      fourOctetAs,
      isExternal,
      families: [ipv4Unicast, ipv6Unicast],
      maxMessageBytes,
      extendedNextHop: isExternal,
      addPathReceive: maxMessageBytes === 4096 ? [] : [ipv4Unicast, ipv6Unicast],
    })),
  ),
)

interface Seen {
  readonly frame: Frame
  readonly decoded?: Decoded<DecodedMessage>
  /** Of an UPDATE that is taken as it lies. */
  readonly plain?: UpdateMessage
}

function see(bytes: Uint8Array, end: number, ctx: CodecContext): Seen {
  const frame = frameMessage(bytes, 0, end, ctx.maxMessageBytes)
  if (frame.kind !== 'frame') return { frame }
  const decoded = decodeMessage(frame.type, frame.body, ctx)
  if (frame.type !== MessageType.update) return { frame, decoded }
  const plain = readPlainUpdate(bytes, frame.length - frame.body.length, frame.length, ctx)
  return { frame, decoded, ...(plain === undefined ? {} : { plain: plain.message }) }
}

/** How the decoder judged an UPDATE. */
function severity(decoded: Decoded<DecodedMessage>): Severity {
  if (!decoded.ok) return Severity.reset
  const actions = decoded.value.problems.map(({ action }) => action)
  return actions.includes('treat-as-withdraw')
    ? Severity.withdraw
    : actions.includes('attribute-discard')
      ? Severity.discard
      : Severity.accept
}

/** What holds for whatever arrives; a text says what does not. */
function complaint(bytes: Uint8Array, ctx: CodecContext): string | undefined {
  const { frame, decoded, plain } = see(bytes, bytes.length, ctx)
  if (plain !== undefined) {
    if (decoded?.ok !== true || decoded.value.problems.length > 0) return 'taken as it lies, though something is wrong'
    if (!isDeepStrictEqual(plain, decoded.value.message)) return 'taken as it lies it is something else'
  }
  const isWhole = frame.kind === 'frame' && frame.type === MessageType.update
  if (wholeUpdate(bytes, 0, bytes.length, ctx.maxMessageBytes) !== (isWhole ? frame.length : 0))
    return 'as an UPDATE it is framed otherwise'
  const fault = frame.kind === 'fault' ? frame.fault : decoded?.ok === false ? decoded.fault : undefined
  if (fault !== undefined) {
    if (fault.data.length > 64) return `${fault.data.length} octets of NOTIFICATION data`
    if (fault.code < 1 || fault.code > 7 || fault.reason === '')
      return `no fault that a NOTIFICATION can say: ${JSON.stringify(fault)}`
  }
  if (frame.kind === 'frame' && frame.type === MessageType.update && decoded !== undefined) {
    const [least, found] = [leastSeverity(frame.body, ctx), severity(decoded)]
    if (found < least) return `judged too mildly: severity ${found}, at least ${least} by RFC 7606`
  }
  if (decoded === undefined || !decoded.ok) return undefined
  const { message, problems, endOfRib } = decoded.value
  if (problems.length > 64) return `${problems.length} problems of one message`
  if (message.type === 'update') {
    const announced = message.nlri.length + (message.mpReach?.prefixes.length ?? 0)
    const others = message.withdrawn.length + (message.mpUnreach?.prefixes.length ?? 0)
    if (problems.some(({ action }) => action === 'treat-as-withdraw') && announced === 0)
      return 'a treat-as-withdraw that has nothing to withdraw'
    if (endOfRib !== undefined && announced + others + problems.length + Object.keys(message.attributes).length > 0)
      return 'an End-of-RIB with something in it'
  }
  if (message.type === 'notification') notificationText(message.code, message.subcode, message.data)
  const sent = encodeMessage(message, ctx)
  const again = see(sent, sent.length, ctx).decoded
  if (again === undefined) return 'what it decodes to cannot be sent'
  // Of a message with a problem, the rest alone may be no message any more.
  if (!again.ok) return problems.length > 0 ? undefined : `what it decodes to is refused: ${again.fault.reason}`
  return isDeepStrictEqual(again.value.message, message) ? undefined : 'encoded again it decodes to something else'
}

test(`${messageCount} mutated messages are decoded or refused, and what is decoded is stable (seed ${seed})`, () => {
  const random = seededRandom(seed)
  const findings: string[] = []
  for (let i = 0; i < messageCount && findings.length < 5; i++) {
    const bytes = mutate(corpus, random)
    const ctx = contexts[random(contexts.length)] as CodecContext
    let found: string | undefined
    try {
      found = complaint(bytes, ctx)
    } catch (error) {
      found = error instanceof Error ? (error.stack ?? error.message) : String(error)
    }
    if (found !== undefined)
      findings.push(`${found}\n  ${Buffer.from(bytes).toString('hex')}\n  ${JSON.stringify(ctx)}`)
  }
  assert.deepEqual(findings, [])
})

test('the mutations reach behind the header: a good part of them is decoded, a good part refused by each check', () => {
  const random = seededRandom(seed)
  const seen = new Map<string, number>()
  for (let i = 0; i < 20_000; i++) {
    const bytes = mutate(corpus, random)
    const { frame, decoded, plain } = see(bytes, bytes.length, contexts[0] as CodecContext)
    const kind =
      decoded === undefined
        ? frame.kind
        : !decoded.ok
          ? `refused ${decoded.fault.code}`
          : `${decoded.value.message.type} ${decoded.value.problems[0]?.action ?? 'without problem'}`
    seen.set(kind, (seen.get(kind) ?? 0) + 1)
    if (plain !== undefined) seen.set('taken as it lies', (seen.get('taken as it lies') ?? 0) + 1)
  }
  const wanted = [
    'fault',
    'more',
    'refused 2',
    'refused 3',
    'open without problem',
    'notification without problem',
    'update without problem',
    'update treat-as-withdraw',
    'update attribute-discard',
    'update ignore',
    'taken as it lies',
  ]
  assert.deepEqual(
    wanted.filter((kind) => (seen.get(kind) ?? 0) < 100),
    [],
    JSON.stringify([...seen]),
  )
})

test('cut at every length, a message reads the same whatever lies behind it', () => {
  for (const whole of corpus) {
    for (let length = 0; length < whole.length; length++) {
      for (const [patched, ctx] of [
        [false, contexts[0]],
        [true, contexts[0]],
        [true, contexts[6]],
      ] as const) {
        const exact = whole.slice(0, length)
        if (patched && length >= 19) exact.set([length >>> 8, length & 0xff], 16)
        const found = see(exact, length, ctx as CodecContext)
        for (const behind of [0x00, 0xff, 0x01]) {
          const longer = new Uint8Array(length + 64).fill(behind)
          longer.set(exact)
          const same = see(longer, length, ctx as CodecContext)
          assert.ok(
            isDeepStrictEqual(
              [same.decoded, same.plain, same.frame.kind],
              [found.decoded, found.plain, found.frame.kind],
            ),
            `${length} octets of ${Buffer.from(whole).toString('hex')}`,
          )
        }
      }
    }
  }
})

/**
 * An UPDATE of the largest length whose attributes are one element again and again, all of them in one attribute where
 * `within` names its type.
 */
function filledUpdate(element: readonly number[], within?: number): Uint8Array {
  const bytes = new Uint8Array(65535).fill(0xff)
  const headAt = 23
  const at = headAt + (within === undefined ? 0 : 4)
  const room = bytes.length - at
  const used = room - (room % element.length)
  const length = at + used
  bytes.set([length >>> 8, length & 0xff, 2, 0, 0, (length - headAt) >>> 8, (length - headAt) & 0xff], 16)
  if (within !== undefined) bytes.set([0x50, within, used >>> 8, used & 0xff], headAt)
  for (let i = at; i < length; i += element.length) bytes.set(element, i)
  return bytes.subarray(0, length)
}

test('the largest messages of the most hostile shapes take no more than a moment', () => {
  const shapes: Readonly<Record<string, readonly number[]>> = {
    'repeated ORIGIN': [0x40, 1, 1, 0],
    'empty unknown attributes': [0xc0, 99, 0],
    'empty AS_PATH': [0x40, 2, 0],
    'attribute type 0': [0xc0, 0, 0],
    'unexpected LOCAL_PREF': [0x40, 5, 0],
  }
  const updates = [
    ...Object.entries(shapes).map(([name, element]) => ({ name, bytes: filledUpdate(element) })),
    { name: 'AS_PATH of one-AS segments', bytes: filledUpdate([2, 1, 0, 0, 0xfd, 0xe8], 2) },
  ]
  for (const { name, bytes } of updates) {
    const ms = processorMs(() => {
      for (let i = 0; i < 5; i++)
        assert.equal(see(bytes, bytes.length, contexts[1] as CodecContext).frame.kind, 'frame')
    })
    const perMessageMs = ms / 5
    assert.ok(perMessageMs < 250, `${name}: ${perMessageMs} ms`)
  }
})
