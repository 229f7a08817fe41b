/** What is said to a Service of which no pool has an address: each family that is missing, with each pool's reason. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AddressRequest } from '../../src/allocation/allocate.ts'
import { MemoryBook } from '../../src/allocation/memory-book.ts'
import type { Pool } from '../../src/allocation/pool-table.ts'
import { FolderAgent, pool, request } from './requests.ts'

const both = { families: ['ipv4', 'ipv6'], needsAllFamilies: true } as const

/** What the last of some Services is told. */
function told(pools: readonly Pool[], ...requests: readonly AddressRequest[]): readonly [string, string] {
  const agent = new FolderAgent(new MemoryBook(), pools)
  for (const each of requests) agent.put(each)
  const { code, message } = agent.allocator.answerOf(requests.at(-1)?.key ?? '').verdict
  return [code, message]
}

test('each family that is missing is named, and once what is in the way of all of them', () => {
  const one = [pool('p', ['10.0.0.1', '2001:db8::1'])]
  const text = 'no IPv4 and no IPv6 address: pool p is full'
  assert.deepEqual(told(one, request('a', both), request('b', both)), ['OutOfAddresses', text])
  const turned = { ...both, families: ['ipv6', 'ipv4'] } as const
  const turnedText = 'no IPv6 and no IPv4 address: pool p is full'
  assert.deepEqual(told(one, request('a', both), request('b', turned)), ['OutOfAddresses', turnedText])
  const two = [pool('four', ['10.0.0.1']), pool('six', ['2001:db8::1'])]
  assert.deepEqual(told(two, request('a', both), request('b', both)), [
    'OutOfAddresses',
    'no IPv4 address: pool four is full, pool six gives no IPv4 addresses; ' +
      'no IPv6 address: pool four gives no IPv6 addresses, pool six is full',
  ])
  const six = [pool('p', ['10.0.0.1-10.0.0.9', '2001:db8::1'])]
  assert.deepEqual(told(six, request('a', both), request('b', both)), [
    'OutOfAddresses',
    'no IPv6 address: pool p is full',
  ])
})

test('who can do without one of the families is told of both when there is neither', () => {
  const one = [pool('p', ['10.0.0.1', '2001:db8::1'])]
  const prefers = { ...both, needsAllFamilies: false }
  const text = 'no IPv4 and no IPv6 address: pool p is full'
  assert.deepEqual(told(one, request('a', both), request('b', prefers)), ['OutOfAddresses', text])
  const closed = [pool('p', ['10.0.0.1'], { closed: 'disabled' })]
  assert.deepEqual(told(closed, request('a', prefers)), ['NoPool', 'no IPv4 and no IPv6 address: pool p is disabled'])
})

test('a pool that gives all of a Service or nothing is not said to be full of what it still has', () => {
  const whole = [
    pool('a', ['10.0.0.1-10.0.0.9', '2001:db8::1'], { isWhole: true }),
    pool('b', ['10.0.1.1', '2001:db8:1::1-2001:db8:1::9'], { isWhole: true }),
  ]
  const asked = (family: 'ipv4' | 'ipv6', explicit: string) =>
    request(explicit, { families: [family], explicit: [explicit] })
  const text = 'is full of one family, and all of a Service are of one pool'
  assert.deepEqual(told(whole, asked('ipv6', '2001:db8::1'), asked('ipv4', '10.0.1.1'), request('c', both)), [
    'OutOfAddresses',
    `no IPv6 address: pool a ${text}, pool b ${text}`,
  ])
  assert.deepEqual(told(whole.slice(0, 1), asked('ipv6', '2001:db8::1'), request('c', { families: ['ipv6'] })), [
    'OutOfAddresses',
    'no IPv6 address: pool a is full',
  ])
})

test('addresses of several pools are told each with its own', () => {
  const two = [pool('four', ['10.0.0.1-10.0.0.2']), pool('six', ['2001:db8::1-2001:db8::2'])]
  assert.deepEqual(told(two, request('a', both)), ['Allocated', '10.0.0.1 of pool four, 2001:db8::1 of pool six'])
  const one = [pool('p', ['10.0.0.1', '2001:db8::1'])]
  assert.deepEqual(told(one, request('a', both)), ['Allocated', '10.0.0.1, 2001:db8::1 of pool p'])
})
