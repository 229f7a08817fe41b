/** What is said to a Service of which no pool has an address: each family that is missing, with each pool's reason. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AddressRequest } from '../../src/allocation/allocate.ts'
import { MemoryBook } from '../../src/allocation/memory-book.ts'
import type { Pool } from '../../src/allocation/pool-table.ts'
import { allOf } from '../../src/allocation/work.ts'
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

/** What `default/b` is told now. */
const toldNow = (agent: FolderAgent): string => agent.allocator.answerOf('default/b').verdict.message

test('who needs both families is told of the other one when its pool fills later, and when it is not full any more', () => {
  const v4 = { families: ['ipv4'] } as const
  const agent = new FolderAgent(new MemoryBook(), [pool('p', ['10.0.0.1-10.0.0.4', '2001:db8::1'])])
  agent.put(request('a', both))
  agent.put(request('b', both))
  assert.equal(toldNow(agent), 'no IPv6 address: pool p is full')
  // The last one is taken first.
  agent.put(request('c', { ...v4, explicit: ['10.0.0.4'] }))
  agent.put(request('d', v4))
  assert.equal(toldNow(agent), 'no IPv6 address: pool p is full')
  agent.put(request('e', v4))
  assert.equal(toldNow(agent), 'no IPv4 and no IPv6 address: pool p is full')
  agent.remove('d')
  assert.equal(toldNow(agent), 'no IPv6 address: pool p is full', 'what is kept for who is gone gives way')
  agent.put(request('f', v4))
  agent.remove('a')
  agent.remove('f')
  assert.equal(agent.of('b'), '10.0.0.1,2001:db8::1')
})

test('who lost an address to another is told so as long as that one has it, whatever changes, and after a restart', () => {
  const shared = (key: string | undefined, port: number): AddressRequest['sharing'] =>
    key === undefined
      ? undefined
      : { key, namespace: 'default', sharedWith: [], trafficKey: 'Cluster', ports: [`${port}/TCP`] }
  const pools = [pool('p', ['10.0.0.1-10.0.0.4'])]
  const book = new MemoryBook()
  const agent = new FolderAgent(book, pools)
  agent.put(request('a', { sharing: shared('k', 80), createdMs: 1 }))
  agent.put(request('b', { sharing: shared('k', 81), createdMs: 2 }))
  assert.deepEqual([agent.of('a'), agent.of('b')], ['10.0.0.1', '10.0.0.1'])
  const text = '10.0.0.2 of pool p, in place of another: 10.0.0.1 belongs to default/a'
  for (const port of [82, 83]) {
    agent.put(request('b', { sharing: shared('l', port), createdMs: 2 }))
    assert.equal(toldNow(agent), text)
  }
  const next = new FolderAgent(new MemoryBook(new Map(allOf(book.peek()))), pools)
  next.put(request('b', { createdMs: 2 }), request('a', { sharing: shared('k', 80), createdMs: 1 }))
  assert.equal(toldNow(next), text)
  for (const each of [agent, next]) {
    each.put(request('a', { explicit: ['10.0.0.3'], createdMs: 1 }))
    assert.equal(toldNow(each), '10.0.0.2 of pool p')
  }
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
