import assert from 'node:assert/strict'
import { closeSync } from 'node:fs'
import { test } from 'node:test'
import koffi from 'koffi'
import { parseAddress } from '../../src/ip/address.ts'
import { checked, errnoName, errnoNumber, interfaceIndex, lastErrno, syscallError } from '../../src/sys/libc.ts'
import {
  AF_INET,
  bindSocket,
  octetsOfSockaddrIn6,
  openSocket,
  preparedSocket,
  setIntOption,
  SOCK_STREAM,
  socketAddress,
} from '../../src/sys/socket.ts'

const address = (text: string): NonNullable<ReturnType<typeof parseAddress>> => {
  const parsed = parseAddress(text)
  assert.ok(parsed !== undefined)
  return parsed
}

test('struct sockaddr_in: family, port and address in network order, 16 octets', () => {
  assert.equal(socketAddress(address('192.0.2.1'), 179).toString('hex'), `020000b3c0000201${'00'.repeat(8)}`)
})

test('struct sockaddr_in6: the address at 8, the scope at 24, 28 octets', () => {
  const value = socketAddress(address('fe80::1'), 179, false, 7)
  assert.equal(value.toString('hex'), '0a0000b300000000fe80000000000000000000000000000107000000')
  assert.equal(Buffer.from(octetsOfSockaddrIn6(value)).toString('hex'), 'fe800000000000000000000000000001')
})

test('an IPv4 address on an IPv6 socket is mapped (RFC 4291 2.5.5.2)', () => {
  const value = socketAddress(address('192.0.2.1'), 0, true)
  assert.equal(Buffer.from(octetsOfSockaddrIn6(value)).toString('hex'), '00000000000000000000ffffc0000201')
  assert.equal(value.length, 28)
})

test('a socket whose preparation fails is closed, and the error is the one of the call, with its errno', () => {
  const fd = openSocket('socket', AF_INET, SOCK_STREAM)
  assert.throws(() => preparedSocket(fd, () => setIntOption(fd, 0x7fff, 1, 1)), {
    code: 'ERR_SYSCALL',
    errno: 'ENOPROTOOPT',
    message: 'setsockopt(32767, 1): ENOPROTOOPT',
  })
  assert.throws(() => closeSync(fd), { code: 'EBADF' })
  assert.throws(() => openSocket('socket', 0x7fff, SOCK_STREAM), { errno: 'EAFNOSUPPORT' })
  const other = openSocket('socket', AF_INET, SOCK_STREAM)
  assert.throws(() => bindSocket('bind', other, new Uint8Array(3)), { errno: 'EINVAL' })
  closeSync(other)
})

test('of an errno with two names the one of asm-generic/errno.h is told, which is what is compared with', () => {
  const numbers = [...new Set(Object.values(koffi.os.errno))].filter((number) => number > 0)
  for (const [name, other] of [
    ['EAGAIN', 'EWOULDBLOCK'],
    ['EDEADLK', 'EDEADLOCK'],
    ['EOPNOTSUPP', 'ENOTSUP'],
  ] as const) {
    assert.equal(errnoName(errnoNumber(name)), name)
    assert.equal(errnoName(errnoNumber(other)), errnoNumber(other) === 0 ? 'EUNKNOWN' : name)
  }
  for (const number of numbers) assert.equal(errnoNumber(errnoName(number)), number)
  assert.equal(errnoNumber('ENOTHING'), 0)
})

test('an errno has one name and one number, and a call that succeeds is none', () => {
  for (const name of ['ENOENT', 'EEXIST', 'ENOBUFS', 'ENODEV'] as const)
    assert.equal(errnoName(errnoNumber(name)), name)
  assert.equal(checked('call', 0), 0)
  assert.deepEqual(
    [syscallError('call', 'EPERM').message, syscallError('call', 'EPERM').errno],
    ['call: EPERM', 'EPERM'],
  )
  assert.equal(interfaceIndex('no-such-if'), 0)
  assert.equal(lastErrno(), 'ENODEV')
  assert.equal(interfaceIndex('lo'), 1)
})
