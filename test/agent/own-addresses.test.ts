import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ownAddresses } from '../../src/agent/own-addresses.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { HeraldError } from '../../src/errors.ts'

test('own addresses are listed once a second at most, and keep what was seen last when the kernel fails', async () => {
  const clock = new VirtualClock()
  let lists = 0
  let isBroken = false
  const read = ownAddresses(() => {
    lists++
    if (isBroken) throw new HeraldError('ERR_SYSCALL', 'no netlink')
    return [{ device: 'eth0', address: 0x0a000000 + lists, isGlobal: true }]
  }, clock)
  const first = read()
  assert.deepEqual(first, [{ interface: 'eth0', address: '10.0.0.1' }])
  for (let asked = 0; asked < 100; asked++) assert.equal(read(), first)
  await clock.advance(1_000)
  assert.equal(read()[0]?.address, '10.0.0.2')
  isBroken = true
  await clock.advance(1_000)
  assert.equal(read()[0]?.address, '10.0.0.2')
  assert.equal(lists, 3)
})

test('a list that takes long is asked for the less often', async () => {
  let [nowMs, lists] = [0, 0]
  const read = ownAddresses(
    () => {
      lists++
      nowMs += 100
      return []
    },
    { monotonic: () => nowMs },
  )
  for (; nowMs < 20_000; nowMs += 10) read()
  assert.equal(lists, 4, '2 % of the time')
})
