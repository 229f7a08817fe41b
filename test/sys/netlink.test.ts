import assert from 'node:assert/strict'
import { test } from 'node:test'
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

test('a length that runs over the datagram, or under its header, ends the reading and nothing is made up', () => {
  for (const length of [0, 15, 17, 0xffffffff]) {
    const bytes = message(16, 2)
    new DataView(bytes.buffer).setUint32(0, length, true)
    const found = replies()
    readReplies('x', bytes, found)
    assert.deepEqual(found.messages, [], String(length))
  }
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
