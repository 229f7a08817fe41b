import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { formatAddress } from '../../src/ip/address.ts'
import { listAddresses } from '../../src/sys/addresses.ts'

test('the addresses of this machine are those that Node knows of interfaces that are up, loopback is not global', () => {
  const listed = listAddresses().map(({ device, address }) => `${device} ${formatAddress(address)}`)
  const expected = Object.entries(networkInterfaces()).flatMap(([device, addresses]) =>
    (addresses ?? []).map(({ address }) => `${device} ${address}`),
  )
  assert.ok(expected.length > 0)
  for (const one of expected) assert.ok(listed.includes(one), `${one} is not among ${listed.join(', ')}`)
  // An address of a Service on lo is global, the loopback address is not.
  const loopback = listAddresses().filter(({ address }) => formatAddress(address) === '127.0.0.1')
  assert.deepEqual(
    loopback.map(({ device, isGlobal }) => [device, isGlobal]),
    [['lo', false]],
  )
})
