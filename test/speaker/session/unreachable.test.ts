import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAddress } from '../../../src/ip/address.ts'
import { unreachableReason } from '../../../src/speaker/session/unreachable.ts'
import { nextHopTo } from '../../../src/sys/links.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const [ipv4, ipv6] = [address('192.0.2.9'), address('2001:db8::9')]

test('a peer on a connected network that does not answer is no missing route: ARP or ND, on which interface', () => {
  assert.equal(
    unreachableReason(ipv4, { device: 'eth1', isSilent: true }),
    'no answer to ARP for 192.0.2.9 on eth1: the peer is down, or not on this network',
  )
  assert.equal(
    unreachableReason(ipv6, { device: 'eth1', isSilent: true }),
    'no answer to ND for 2001:db8::9 on eth1: the peer is down, or not on this network',
  )
  assert.equal(
    unreachableReason(ipv4, { device: 'eth0', gateway: address('10.0.0.1'), isSilent: true }),
    'no answer to ARP for 10.0.0.1 on eth0: 10.0.0.1, the router on the way to the peer, is down, or not on this network',
  )
  assert.equal(
    unreachableReason(ipv4, { device: 'eth0', gateway: address('10.0.0.1'), isSilent: false }),
    '10.0.0.1, the router on the way to the peer, is there on eth0, but an ICMP error says that the peer cannot be reached',
  )
  assert.equal(unreachableReason(ipv4, undefined), 'no route to the peer')
})

test('on a link on which nobody is asked (a tunnel) nobody is said to be silent, and nobody to be there', () => {
  for (const gateway of [{}, { gateway: address('10.0.0.1') }])
    assert.equal(
      unreachableReason(ipv4, { device: 'wg0', isSilent: undefined, ...gateway }),
      'an ICMP error says that the peer cannot be reached over wg0',
    )
})

test('the kernel knows the way to an address of this machine, and none to one that nothing leads to', () => {
  assert.equal(nextHopTo(address('127.0.0.1'))?.device, 'lo')
  assert.equal(nextHopTo(address('127.0.0.1'))?.gateway, undefined)
})
