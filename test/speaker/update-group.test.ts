import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeMessage } from '../../src/bgp/messages/decode.ts'
import { frameMessage } from '../../src/bgp/messages/header.ts'
import { type CodecContext, ipv4Unicast, ipv6Unicast } from '../../src/bgp/messages/types.ts'
import type { GroupLimits } from '../../src/speaker/group-view.ts'
import { type GroupMember, UpdateGroup } from '../../src/speaker/update-group.ts'
import { formatPrefix, parsePrefix, type Prefix } from '../../src/ip/prefix.ts'
import { LocRib } from '../../src/rib/loc-rib.ts'
import { hostRoutes } from './pair.ts'

const codec: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast, ipv6Unicast],
  maxMessageBytes: 4096,
  extendedNextHop: false,
  addPathReceive: [],
}
const view = { localAsn: 65_001, isExternal: true, nextHops: { 'ipv4-unicast': 0xc6336401 } }
const prefix = (text: string): Prefix => parsePrefix(text) ?? assert.fail(text)

/** A peer that reads everything, or stops taking more after `room` sends. */
class Reader implements GroupMember {
  readonly id: string
  readonly isRefreshFramed = true
  readonly refreshes: string[] = []
  readonly buffers: Uint8Array[] = []
  readonly table = new Map<Prefix, number | undefined>()
  messages = 0
  room = Number.POSITIVE_INFINITY

  constructor(id: string) {
    this.id = id
  }

  send(messages: Uint8Array, count: number): boolean {
    assert.ok(this.room > 0, 'nothing is sent to a peer that said stop')
    this.messages += count
    this.buffers.push(messages)
    assert.equal(this.#read(messages), count)
    this.room--
    return this.room > 0
  }

  get prefixes(): readonly string[] {
    return [...this.table.keys()].map(formatPrefix).sort()
  }

  #read(bytes: Uint8Array): number {
    let messages = 0
    for (let at = 0; at < bytes.length; messages++) {
      const frame = frameMessage(bytes, at, bytes.length, 4096)
      if (frame.kind !== 'frame') return assert.fail(frame.kind)
      at += frame.length
      const decoded = decodeMessage(frame.type, frame.body, codec)
      if (!decoded.ok) return assert.fail('no message')
      if (decoded.value.message.type === 'routeRefresh') {
        this.refreshes.push(
          `${decoded.value.message.family.afi}:${decoded.value.message.subtype} after ${this.messages}`,
        )
        continue
      }
      if (decoded.value.message.type !== 'update') return assert.fail('no UPDATE')
      const { withdrawn, nlri, attributes } = decoded.value.message
      for (const gone of withdrawn) this.table.delete(gone)
      for (const reached of nlri) this.table.set(reached, attributes.med)
    }
    return messages
  }
}

class Fixture {
  readonly locRib = new LocRib()
  readonly group: UpdateGroup
  readonly readers = ['a', 'b'].map((id) => new Reader(id))

  constructor(limits: GroupLimits = {}) {
    this.group = new UpdateGroup(view, codec, this.locRib, limits)
    for (const reader of this.readers) this.group.join(reader)
    this.settle()
  }

  set(text: string, med: number | undefined, flush = true): void {
    this.locRib.set(prefix(text), med === undefined ? [] : [{ neighbors: ['a', 'b'], attributes: { med } }], 1)
    if (flush) this.group.flush([prefix(text)], 1)
  }

  settle(limit = 1000): number {
    let turns = 0
    for (; this.group.isBusy; turns++) this.group.step(limit, 1)
    return turns
  }
}

test('members get the same buffer, encoded once', () => {
  const fixture = new Fixture()
  fixture.set('192.0.2.1/32', 1)
  const [a, b] = fixture.readers as [Reader, Reader]
  assert.equal(fixture.group.encodings, 1)
  assert.equal(a.buffers[0], b.buffers[0])
})

test('a slow peer gets nothing more until it drained, then only the difference; the others get all of it at once', () => {
  const fixture = new Fixture()
  const [a, slow] = fixture.readers as [Reader, Reader]
  fixture.set('192.0.2.1/32', 1)
  fixture.set('192.0.2.2/32', 1)
  slow.room = 1
  fixture.set('192.0.2.3/32', 1)
  fixture.set('192.0.2.1/32', undefined)
  fixture.set('192.0.2.2/32', 2)
  fixture.set('192.0.2.4/32', 1)
  fixture.set('192.0.2.4/32', undefined)
  assert.equal(fixture.group.isInSync('b'), false)
  assert.equal(fixture.group.isBusy, false, 'nothing can be done for it')
  assert.deepEqual(a.prefixes, ['192.0.2.2/32', '192.0.2.3/32'])
  const before = slow.messages
  slow.room = Number.POSITIVE_INFINITY
  fixture.group.drained('b')
  fixture.settle()
  assert.deepEqual([...slow.table], [...a.table])
  assert.equal(slow.messages - before, 2, 'one withdrawal and one change; what came and went is not sent')
  assert.equal(fixture.group.isInSync('b'), true)
})

test('a member that joins later is sent everything in bounded steps, the others nothing', () => {
  const fixture = new Fixture()
  const [a] = fixture.readers as [Reader, Reader]
  for (const text of hostRoutes(1000)) fixture.set(text, 1, false)
  fixture.group.flush(hostRoutes(1000).map(prefix), 1)
  const before = a.buffers.length
  const late = new Reader('c')
  for (const text of hostRoutes(1000))
    fixture.locRib.set(prefix(text), [{ neighbors: ['a', 'b', 'c'], attributes: { med: 1 } }], 1)
  fixture.group.join(late)
  assert.equal(fixture.group.isInSync('c'), false)
  assert.ok(fixture.settle(100) >= 10)
  assert.equal(late.table.size, 1000)
  assert.equal(a.buffers.length, before)
})

test('a table that goes out in many turns takes no more messages than in one', () => {
  const messagesIn = (limit: number): number => {
    const { locRib, group } = new Fixture()
    const late = new Reader('c')
    for (const text of hostRoutes(6000)) locRib.set(prefix(text), [{ neighbors: ['c'], attributes: { med: 1 } }], 1)
    group.join(late)
    for (let turns = 0; group.isBusy; turns++) {
      assert.ok(turns < 10)
      group.step(limit, 1)
    }
    assert.equal(late.table.size, 6000)
    return late.messages
  }
  const least = messagesIn(10_000)
  for (const limit of [900, 1024, 3000, 4097]) assert.ok(messagesIn(limit) <= least + 1, `${limit} prefixes a turn`)
})

test('the place of a member that left is free of its past', () => {
  const fixture = new Fixture()
  fixture.set('192.0.2.1/32', 1)
  fixture.group.leave('b')
  const again = new Reader('b')
  fixture.group.join(again)
  fixture.settle()
  assert.deepEqual(again.prefixes, ['192.0.2.1/32'])
})

test('a refresh sends again what the member has of the family, once however often it asks (RFC 2918)', () => {
  const fixture = new Fixture()
  fixture.set('192.0.2.1/32', 1)
  fixture.set('192.0.2.2/32', 1)
  const [a, b] = fixture.readers as [Reader, Reader]
  const before = [a.buffers.length, b.buffers.length] as const
  b.table.clear()
  for (let i = 0; i < 10; i++) fixture.group.refresh('b', 'ipv4-unicast')
  fixture.group.refresh('b', 'ipv6-unicast')
  fixture.settle()
  assert.deepEqual(b.prefixes, ['192.0.2.1/32', '192.0.2.2/32'])
  // The UPDATE, and BoRR and EoRR of two families.
  assert.deepEqual([a.buffers.length, b.buffers.length], [before[0], before[1] + 5])
})

test('a refresh is framed by BoRR and EoRR where both sides can, and EoRR waits for all of it (RFC 7313 4)', () => {
  const fixture = new Fixture()
  for (const text of hostRoutes(300)) fixture.set(text, Number(text.split('.')[3]?.split('/')[0]), false)
  fixture.group.flush(hostRoutes(300).map(prefix), 1)
  const [, b] = fixture.readers as [Reader, Reader]
  const before = b.messages
  fixture.group.refresh('b', 'ipv4-unicast')
  b.room = 2
  for (let i = 0; i < 3 && fixture.group.isBusy; i++) fixture.group.step(100, 1)
  assert.deepEqual(b.refreshes, [`1:1 after ${before + 1}`], 'a queue that is full ends nothing')
  b.room = Number.POSITIVE_INFINITY
  fixture.group.drained('b')
  fixture.settle(100)
  assert.equal(b.refreshes.length, 2)
  assert.match(b.refreshes[1] ?? '', /^1:2 after /)
  assert.equal(Number(b.refreshes[1]?.split(' ').at(-1)), b.messages, 'EoRR is the last message')
  assert.equal(b.table.size, 300)
})

test('a member is sent no more prefixes than maxPrefixesOut, and what was held back takes the room of a withdrawal', () => {
  const fixture = new Fixture({ maxPrefixesOut: 2 })
  for (const text of ['192.0.2.1/32', '192.0.2.2/32', '192.0.2.3/32']) fixture.set(text, 1)
  const [a] = fixture.readers as [Reader, Reader]
  assert.deepEqual(a.prefixes, ['192.0.2.1/32', '192.0.2.2/32'])
  assert.equal(fixture.group.isHoldingBack('a'), true)
  fixture.set('192.0.2.2/32', 5)
  assert.equal(a.table.get(prefix('192.0.2.2/32')), 5, 'a change needs no room')
  fixture.set('192.0.2.1/32', undefined)
  fixture.settle()
  assert.deepEqual(a.prefixes, ['192.0.2.2/32', '192.0.2.3/32'])
  fixture.settle()
  assert.equal(fixture.group.isHoldingBack('a'), false)
})

test('a route whose attributes leave no room for it is withdrawn and does not count as sent (RFC 4271 9.2)', () => {
  const fixture = new Fixture()
  fixture.set('192.0.2.1/32', 1)
  const communities = Array.from({ length: 1100 }, (_, i) => i)
  fixture.locRib.set(prefix('192.0.2.1/32'), [{ neighbors: ['a', 'b'], attributes: { communities } }], 1)
  fixture.group.flush([prefix('192.0.2.1/32')], 1)
  const [a] = fixture.readers as [Reader, Reader]
  assert.deepEqual(a.prefixes, [])
  assert.equal(fixture.group.sentCount('a', 'ipv4'), 0)
  assert.equal(fixture.group.tooLarge, 1)
})

test('a family without next hop is not sent', () => {
  const fixture = new Fixture()
  fixture.set('2001:db8::1/128', 1)
  assert.deepEqual(
    fixture.readers.map((reader) => reader.buffers.length),
    [0, 0],
  )
})

test('attribute sets that nobody has any more do not pile up, and those in use stay the same objects', () => {
  const fixture = new Fixture()
  fixture.set('192.0.2.1/32', 0)
  for (let med = 1; med < 10_000; med++) fixture.set('192.0.2.2/32', med)
  const before = fixture.group.encodings
  fixture.group.flush([prefix('192.0.2.1/32'), prefix('192.0.2.2/32')], 1)
  assert.equal(fixture.group.encodings, before, 'nothing differs')
  assert.ok(fixture.group.attributeSets < 8192)
})
