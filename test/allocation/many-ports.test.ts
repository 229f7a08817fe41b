/**
 * Hundreds of Services that share one address, each with hundreds of ports: one that changes costs a look at each port
 * of each, and not a comparison of all of them with all of them, which would hold the loop for minutes.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type AddressRequest, Ipam } from '../../src/allocation/allocate.ts'
import { MemoryBook } from '../../src/allocation/memory-book.ts'
import { StatusAddresses } from '../../src/allocation/status-addresses.ts'
import { allOf } from '../../src/allocation/work.ts'
import { FolderAgent, pool, request } from './requests.ts'

const [count, portsOfEach] = [48, 60]
const pools = [pool('p', ['10.0.0.0'])]

/** Tells of each look at an item. */
function watched(list: readonly string[], onLook: () => void): readonly string[] {
  return new Proxy(list, {
    get: (target, name, receiver): unknown => {
      if (typeof name === 'string' && /^\d+$/.test(name)) onLook()
      return Reflect.get(target, name, receiver)
    },
  })
}

function crowd(onLook: () => void): readonly AddressRequest[] {
  const spaces = Array.from({ length: portsOfEach }, (_, i) => `n${i}`)
  return Array.from({ length: count }, (_, i) => {
    const ports = Array.from({ length: portsOfEach }, (__, j) => `${i * portsOfEach + j + 1}/TCP`)
    const sharing = {
      key: 'k',
      namespace: `n${i}`,
      sharedWith: watched(spaces, onLook),
      trafficKey: 'Cluster',
      ports: watched(ports, onLook),
    }
    return request(`s${i}`, { createdMs: i, sharing })
  })
}

test('who allocates looks at each port a few times when one of many that share changes', () => {
  let looks = 0
  const all = crowd(() => looks++)
  const agent = new FolderAgent(new MemoryBook(), pools)
  agent.put(...all)
  const [first] = all
  assert.ok(first)
  assert.deepEqual([...new Set([...agent.all().values()].map(String))], ['10.0.0.0'])
  looks = 0
  agent.put({ ...first, labels: { changed: 'yes' } })
  assert.ok(looks <= 8 * count * portsOfEach, `${looks} looks`)
})

test('who reads statuses looks at each port a few times, whether one of many that share changes or all are new', () => {
  let looks = 0
  const all = crowd(() => looks++)
  const agent = new FolderAgent(new MemoryBook(), pools)
  agent.put(...all)
  const read = new Map(
    all.map((each) => {
      const { addresses, tenure } = agent.allocator.answerOf(each.key)
      return [each.key, { ...each, status: addresses, tenure }]
    }),
  )
  const reader = new StatusAddresses()
  reader.setPools(pools)
  const settle = (...keys: readonly string[]): void => {
    looks = 0
    allOf(
      reader.settle(keys, (key) => {
        const found = read.get(key)
        return found && { subject: found, request: () => found }
      }),
    )
    assert.ok(looks <= 8 * count * portsOfEach, `${looks} looks`)
  }
  settle(...read.keys())
  const [key = '', first] = [...read][0] ?? []
  assert.ok(first)
  read.set(key, { ...first, labels: { changed: 'yes' } })
  settle(key)
  assert.equal(reader.answerOf('default/s7').tenure?.ports.get('10.0.0.0')?.length, portsOfEach)
})

test('an address that a Service comes to share may be shared, though the Service is the one that it was', () => {
  const ipam = new Ipam()
  ipam.setPools([pool('p', ['10.0.0.0/30'])])
  ipam.begin()
  const sharing = { key: 'k', namespace: 'default', sharedWith: [], trafficKey: 'Cluster', ports: ['80/TCP'] }
  const asked = request('a', { sharing })
  for (const address of ['10.0.0.1', '10.0.0.2']) {
    ipam.assign(asked, { addresses: [address], isRecorded: true, mayChoose: false })
    assert.ok(allOf(ipam.takeFreed()).includes(address), address)
  }
})
