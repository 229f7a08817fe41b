import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { HeraldError } from '../../src/errors.ts'
import { ifnameToIndex, listLinks, lookAtLinks, watchLinks } from '../../src/sys/links.ts'
import { errnoName, errnoNumber } from '../../src/sys/libc.ts'
import { askOne, attributes, readReplies, untorn, type NetlinkMessage } from '../../src/sys/netlink.ts'

/** struct nlmsghdr and a body. */
function message(type: number, flags: number, body: Uint8Array = new Uint8Array()): Uint8Array {
  const bytes = new Uint8Array((16 + body.length + 3) & ~3)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, 16 + body.length, true)
  view.setUint16(4, type, true)
  view.setUint16(6, flags, true)
  bytes.set(body, 16)
  return bytes
}

const joined = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]))

function replies(): { messages: NetlinkMessage[]; isDone: boolean; isTorn: boolean } {
  return { messages: [], isDone: false, isTorn: false }
}

test('the bodies of a datagram are read one by one up to NLMSG_DONE', () => {
  const found = replies()
  readReplies('x', joined(message(16, 2, Uint8Array.of(1, 2, 3)), message(17, 2), message(3, 2), message(16, 2)), found)
  assert.deepEqual(found.messages, [
    { type: 16, body: Uint8Array.of(1, 2, 3) },
    { type: 17, body: new Uint8Array() },
  ])
  assert.deepEqual([found.isDone, found.isTorn], [true, false])
})

test('a length that runs over the datagram, or under its header, ends the reading: the list is torn', () => {
  for (const length of [0, 15, 17, 0xffffffff]) {
    const bytes = message(16, 2)
    new DataView(bytes.buffer).setUint32(0, length, true)
    const found = replies()
    readReplies('x', bytes, found)
    assert.deepEqual([found.messages, found.isDone, found.isTorn], [[], true, true], String(length))
  }
})

test('an acknowledgement is an answer, an errno is none, and what is cut off is no acknowledgement (RFC 3549 2.3.2.2)', () => {
  const answered = (errno: number): Uint8Array => message(2, 0, new Uint8Array(Int32Array.of(errno).buffer))
  const found = replies()
  readReplies('x', joined(answered(0), message(16, 2)), found)
  assert.deepEqual([found.messages, found.isDone, found.isTorn], [[], true, false])
  assert.throws(() => readReplies('end a socket', answered(-errnoNumber('ENOENT')), replies()), {
    errno: 'ENOENT',
    message: 'end a socket: ENOENT',
  })
  assert.throws(() => readReplies('x', message(2, 0), replies()), { code: 'ERR_SYSCALL' })
})

test('a list that broke off says so in its NLMSG_DONE, and is no shorter list', () => {
  const done = (errno: number): Uint8Array => message(3, 2, new Uint8Array(Int32Array.of(errno).buffer))
  const found = replies()
  readReplies('x', joined(message(16, 2), done(0)), found)
  assert.deepEqual([found.messages.length, found.isDone], [1, true])
  assert.throws(() => readReplies('list links', joined(message(16, 2), done(-errnoNumber('ENOBUFS'))), replies()), {
    code: 'ERR_SYSCALL',
    errno: 'ENOBUFS',
    message: 'list links: ENOBUFS',
  })
})

test('a message that says nothing (NLMSG_NOOP) is no entry, and lost data (NLMSG_OVERRUN) tears the list (netlink(7))', () => {
  const found = replies()
  readReplies('x', joined(message(1, 0, new Uint8Array(8)), message(16, 2), message(1, 0)), found)
  assert.deepEqual(found, { messages: [{ type: 16, body: new Uint8Array() }], isDone: false, isTorn: false })
  readReplies('x', joined(message(4, 0, new Uint8Array(4)), message(17, 2), message(3, 2)), found)
  assert.deepEqual([found.messages.map(({ type }) => type), found.isDone, found.isTorn], [[16, 17], true, true])
})

test('what was put in comes out, over any number of datagrams and with any padding', () => {
  const body = fc.uint8Array({ maxLength: 40 })
  const told = fc.record({ type: fc.integer({ min: 16, max: 0xffff }), body }, { noNullPrototype: true })
  fc.assert(
    fc.property(fc.array(fc.array(told, { maxLength: 5 }), { maxLength: 4 }), (datagrams) => {
      const found = replies()
      for (const each of datagrams)
        readReplies('x', joined(...each.map((one) => message(one.type, 2, one.body))), found)
      assert.deepEqual(found, { messages: datagrams.flat(), isDone: false, isTorn: false })
    }),
  )
})

test('of a datagram that is cut anywhere whole messages are read, and nothing is made up', () => {
  const parts = [message(16, 2, Uint8Array.of(1, 2, 3)), message(17, 2, new Uint8Array(20)), message(18, 2)]
  const whole = joined(...parts)
  for (let cut = 0; cut <= whole.length; cut++) {
    const found = replies()
    readReplies('x', whole.subarray(0, cut), found)
    // The padding of the first is not part of it.
    const ends = [19, 20 + 36, 20 + 36 + 16]
    assert.equal(found.messages.length, ends.filter((end) => end <= cut).length, `cut at ${cut}`)
    assert.deepEqual(
      found.messages.map(({ type }) => type),
      [16, 17, 18].slice(0, found.messages.length),
    )
  }
})

test('any octets are read to their end, or refused with an errno', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(3), (octets, from) => {
      const found = replies()
      try {
        readReplies('x', octets, found)
      } catch (error) {
        assert.ok(error instanceof HeraldError && error.code === 'ERR_SYSCALL')
      }
      for (const { body } of found.messages) assert.ok(body.length <= octets.length)
      for (const value of attributes(octets, from).values()) assert.ok(value.length <= octets.length - 4)
    }),
  )
})

test('an error of the kernel carries its errno as a value, beside the words', () => {
  const body = new Uint8Array(4)
  new DataView(body.buffer).setInt32(0, -errnoNumber('EPERM'), true)
  assert.throws(
    () => readReplies('list links', message(2, 0, body), replies()),
    (error) => error instanceof HeraldError && error.errno === 'EPERM' && error.message === 'list links: EPERM',
  )
  assert.throws(() => askOne('nonsense', 0x7ff0, new Uint8Array(16)), { code: 'ERR_SYSCALL', errno: 'EOPNOTSUPP' })
  assert.throws(() => ifnameToIndex('no-such-if'), { code: 'ERR_SYSCALL', errno: 'ENODEV' })
  assert.equal(errnoName(99_999), 'EUNKNOWN')
})

test('a list that changed while it was read (NLM_F_DUMP_INTR) is read again, and is not read for ever', () => {
  const torn = replies()
  readReplies('x', joined(message(16, 2), message(16, 0x12), message(3, 2)), torn)
  assert.equal(torn.isTorn, true)

  let lists = 0
  const whole: NetlinkMessage[] = [{ type: 16, body: Uint8Array.of(7) }]
  const found = untorn(() => (++lists < 3 ? torn : { messages: whole, isTorn: false }))
  assert.deepEqual([lists, found], [3, whole])

  lists = 0
  untorn(() => {
    lists++
    return torn
  })
  assert.equal(lists, 8)
})

test('attributes are read by type; of one that repeats the last, and a broken length ends them', () => {
  const bytes = Uint8Array.of(9, 9, 5, 0, 3, 0, 7, 0, 0, 0, 6, 0, 3, 0x80, 1, 2, 0, 0, 2, 0, 4, 0)
  assert.deepEqual(attributes(bytes, 2), new Map([[3, Uint8Array.of(1, 2)]]))
})

test('an attribute that runs over the message is none: it is not cut to what is there', () => {
  const whole = Uint8Array.of(8, 0, 1, 0, 1, 1, 1, 1, 8, 0, 2, 0, 2, 2, 2, 2)
  assert.deepEqual([...attributes(whole, 0).keys()], [1, 2])
  for (let cut = 8; cut < whole.length; cut++)
    assert.deepEqual([...attributes(whole.subarray(0, cut), 0).keys()], [1], `cut at ${cut}`)
})

test('attributes of any types and values come out as they were put in, without the flags of their types', () => {
  const attribute = fc.record({
    type: fc.nat(0x3fff),
    flags: fc.constantFrom(0, 0x4000, 0x8000, 0xc000),
    value: fc.uint8Array({ maxLength: 12 }),
  })
  fc.assert(
    fc.property(fc.array(attribute, { maxLength: 6 }), fc.nat(20), (list, from) => {
      const octets = list.flatMap(({ type, flags, value }) => {
        const head = [...new Uint8Array(Uint16Array.of(4 + value.length, type | flags).buffer)]
        return [...head, ...value, ...new Uint8Array((4 - (value.length % 4)) % 4)]
      })
      const body = Uint8Array.from([...new Uint8Array(from), ...octets])
      assert.deepEqual(attributes(body, from), new Map(list.map(({ type, value }) => [type, value])))
    }),
  )
})

test('the interface that a session is bound to is an uplink, whatever its peer address is', () => {
  assert.deepEqual(lookAtLinks([{ address: '::', interface: 'no-such-if' }], /^$/).uplinks, [])
  const other = listLinks().find(({ name }) => name !== 'lo')
  if (other === undefined) return
  assert.ok(lookAtLinks([{ address: '::', interface: other.name }]).uplinks.some(({ name }) => name === other.name))
})

test('a watch of links is opened and ended without holding the process', () => {
  const end = watchLinks(() => {})
  end()
})
