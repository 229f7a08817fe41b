import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAddress } from '../../src/ip/address.ts'
import { type EndpointSlice, parseEndpointSlice } from '../../src/k8s/kinds/endpoint-slice.ts'
import { ServiceSlices } from '../../src/k8s/translate/service-slices.ts'

function slice(addresses: readonly string[], ports: readonly object[], more: object = {}): EndpointSlice {
  const { value } = parseEndpointSlice({
    metadata: { name: 's', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: addresses[0]?.includes(':') === true ? 'IPv6' : 'IPv4',
    endpoints: addresses.map((address) => ({ addresses: [address], ...more })),
    ports,
  })
  assert.ok(value)
  return value
}

test('an endpoint is named by its address with its port and protocol, whatever its state, until no slice has it', () => {
  const slices = new ServiceSlices(() => [])
  const names = (address: string, port: number, protocol: 'TCP' | 'UDP' = 'UDP'): boolean =>
    slices.names(parseAddress(address) ?? 0, port, protocol)
  const dns = [{ port: 53, protocol: 'UDP' }]
  slices.set('a/1', slice(['10.1.1.5', '10.1.1.6'], dns))
  slices.set('a/2', slice(['10.1.1.6', '10.1.1.7'], dns, { conditions: { ready: false, serving: false } }))
  slices.set('a/3', slice(['fd00::5'], [{ port: 53, protocol: 'UDP' }, { port: 54 }]))
  for (const address of ['10.1.1.5', '10.1.1.6', '10.1.1.7', 'fd00::5']) assert.ok(names(address, 53), address)
  assert.ok(names('fd00::5', 54, 'TCP'))
  for (const [address, port, protocol] of [
    ['10.1.1.5', 54, 'UDP'],
    ['10.1.1.5', 53, 'TCP'],
    ['fd00::5', 54, 'UDP'],
    // The end of one address and the beginning of the next.
    ['1.5.10.1', 53, 'UDP'],
    ['10.1.1.8', 53, 'UDP'],
  ] as const)
    assert.ok(!names(address, port, protocol), `${address} ${port}/${protocol}`)
  slices.set('a/1', undefined)
  assert.ok(!names('10.1.1.5', 53))
  assert.ok(names('10.1.1.6', 53))
  slices.set('a/2', undefined)
  assert.ok(!names('10.1.1.6', 53))
})

test('who claims an address is touched when its first endpoint comes and when the last one goes, and not between', () => {
  const slices = new ServiceSlices((address) => [`claims ${address}`])
  const dns = [{ port: 53, protocol: 'UDP' }]
  const touchedBy = (id: string, now: EndpointSlice | undefined): readonly string[] => [...slices.set(id, now)].sort()
  slices.set('a/1', slice(['10.1.1.5'], dns))
  assert.ok(slices.hasEndpoint(parseAddress('10.1.1.5') ?? 0))
  // An address that is written twice in one slice counts once, and other ports of a slice move no address.
  assert.deepEqual(touchedBy('a/2', slice(['10.1.1.6', '10.1.1.6'], dns)), ['claims 10.1.1.6', 'default/web'])
  assert.deepEqual(touchedBy('a/3', slice(['10.1.1.5', '10.1.1.6'], dns)), ['default/web'])
  assert.deepEqual(touchedBy('a/3', slice(['10.1.1.5', '10.1.1.6'], [{ port: 54, protocol: 'UDP' }])), ['default/web'])
  assert.ok(slices.names(parseAddress('10.1.1.6') ?? 0, 54, 'UDP'))
  assert.deepEqual(touchedBy('a/2', undefined), ['default/web'])
  assert.deepEqual(touchedBy('a/3', slice(['10.1.1.7'], dns)), ['claims 10.1.1.6', 'claims 10.1.1.7', 'default/web'])
  assert.deepEqual(touchedBy('a/1', undefined), ['claims 10.1.1.5', 'default/web'])
  assert.deepEqual(touchedBy('a/3', undefined), ['claims 10.1.1.7', 'default/web'])
  for (const address of ['10.1.1.5', '10.1.1.6', '10.1.1.7'])
    assert.ok(!slices.hasEndpoint(parseAddress(address) ?? 0), address)
})
