/** What is said of a peer that no packet reaches, by a real kernel, in a network of the test's own. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { before, test } from 'node:test'
import { parseAddress } from '../../../src/ip/address.ts'
import type { Transport } from '../../../src/speaker/session/environment.ts'
import { openListener } from '../../../src/speaker/session/listener.ts'
import { system } from '../../../src/speaker/session/system.ts'
import { enterNetwork, ip } from '../../datapath/network.ts'

const skip = process.getuid?.() === 0 ? false : 'needs root for a network of its own'

/** Two interfaces whose other ends nobody has, with an address of each family. */
function layLinks(): void {
  enterNetwork()
  for (const [device, ipv4, ipv6] of [
    ['lan0', '192.0.2.1/24', '2001:db8::1/64'],
    ['lan1', '198.51.100.1/24', '2001:db8:1::1/64'],
  ] as const) {
    ip('link', 'add', device, 'type', 'veth', 'peer', 'name', `${device}-far`)
    for (const end of [device, `${device}-far`]) ip('link', 'set', end, 'up')
    ip('address', 'add', ipv4, 'dev', device)
    ip('address', 'add', ipv6, 'dev', device, 'nodad')
    // Three questions a second apart otherwise.
    for (const family of ['ipv4', 'ipv6'])
      execFileSync('sysctl', ['-qw', `net.${family}.neigh.${device}.retrans_time_ms=20`])
  }
  ip('route', 'add', '203.0.113.0/24', 'via', '192.0.2.254')
  ip('-6', 'route', 'add', '2001:db8:f::/48', 'via', '2001:db8::fe')
  ip('route', 'add', 'unreachable', '203.0.113.128/25')
}

before(() => {
  if (skip === false) layLinks()
})

/** Why a connection could not be made. */
const failureOf = (text: string, device?: string): Promise<string> =>
  new Promise((failed) => {
    const peer = parseAddress(text) ?? assert.fail(text)
    const transport = system.dial({
      peer,
      port: 179,
      ttl: 255,
      userTimeoutMs: 2_000,
      ...(device === undefined ? {} : { device }),
    })
    const never = (): void => assert.fail(`${text} is there`)
    transport.attach({ failed, connected: never, data: never, drained: () => {}, closed: () => {} })
  })

const absent = (question: string, address: string, device: string, who = 'the peer'): string =>
  `no answer to ${question} for ${address} on ${device}: ${who} is down, or not on this network`

test('a peer on a connected network that does not exist: no answer to ARP or ND, on which interface', {
  skip,
}, async () => {
  const asked = [
    ['192.0.2.77', 'ARP', 'lan0'],
    ['2001:db8::77', 'ND', 'lan0'],
    ['198.51.100.77', 'ARP', 'lan1'],
    ['2001:db8:1::77', 'ND', 'lan1'],
  ] as const
  assert.deepEqual(
    await Promise.all(asked.map(([address]) => failureOf(address))),
    asked.map(([address, question, device]) => absent(question, address, device)),
  )
  // A second time the kernel remembers, and says the same.
  assert.equal(await failureOf('192.0.2.77'), absent('ARP', '192.0.2.77', 'lan0'))
})

test('a peer behind a router that does not answer: the router is named, and is what is asked for', {
  skip,
}, async () => {
  for (const [peer, question, router] of [
    ['203.0.113.1', 'ARP', '192.0.2.254'],
    ['2001:db8:f::1', 'ND', '2001:db8::fe'],
  ] as const)
    assert.equal(
      await failureOf(peer),
      absent(question, router, 'lan0', `${router}, the router on the way to the peer,`),
    )
})

test('a peer to which nothing leads has no route, also where a route says so', { skip }, async () => {
  for (const peer of ['10.7.7.7', '2001:db8:7::7', '203.0.113.129'])
    assert.equal(await failureOf(peer), 'no route to the peer', peer)
})

test('a link-local peer that is not there, of which the kernel says only that time is over, has answered no ND', {
  skip,
}, async () => {
  assert.equal(await failureOf('fe80::77', 'lan1'), absent('ND', 'fe80::77', 'lan1'))
})

test('a peer that is on the link and takes no connection has given no answer, which is neither ARP nor ND', {
  skip,
}, async () => {
  // Somebody has these addresses; nobody has a connection.
  const peers = [
    ['192.0.2.88', '-4'],
    ['2001:db8::88', '-6'],
  ] as const
  for (const [peer, family] of peers) ip(family, 'neighbor', 'add', peer, 'lladdr', '02:00:00:00:00:88', 'dev', 'lan0')
  assert.deepEqual(await Promise.all(peers.map(([peer]) => failureOf(peer))), ['no answer', 'no answer'])
})

/** Names that the kernel takes, and of which some look like no zone (RFC 4007 11) to whoever reads addresses. */
const deviceNames = ['br_lan', 'lan+1', 'up~link', 'x@home', 'é_1', '7', 'fe80', '-']

test('a link-local peer is dialled and accepted over an interface of whatever name', { skip }, async () => {
  const address = parseAddress('fe80::1') ?? assert.fail()
  for (const device of deviceNames) {
    ip('link', 'add', 'dev', device, 'type', 'veth', 'peer', 'name', `far${deviceNames.indexOf(device)}`)
    for (const end of [device, `far${deviceNames.indexOf(device)}`]) ip('link', 'set', 'dev', end, 'up')
    ip('address', 'add', 'fe80::1/64', 'dev', device, 'nodad')
    const refused: string[] = []
    const listener = await openListener({ host: '::', port: 0, onRefused: (source) => refused.push(source) })
    const seen = await new Promise<readonly unknown[]>((resolve) => {
      const done = (what: string) => resolve([what, ...refused])
      const accept = (transport: Transport): void => {
        transport.destroy()
        done('accepted')
      }
      listener.setPeers([{ address, device, accept }])
      const transport = system.dial({ peer: address, port: listener.port, ttl: 255, device, userTimeoutMs: 5_000 })
      const nothing = (): void => {}
      transport.attach({ failed: done, connected: nothing, data: nothing, drained: nothing, closed: nothing })
    })
    await listener.close()
    assert.deepEqual(seen, ['accepted'], device)
  }
})
