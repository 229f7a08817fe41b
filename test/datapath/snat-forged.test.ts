/** Who may begin a flow by SNAT, and end one: whatever a host sends that forges the client, the pod, or itself. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { familyOf } from './family.ts'
import { frontendOf, verdict, whyNoKernel } from './fixture.ts'
import { tcpFlag, tcpFrame, udpFrame } from './frames.ts'
import { left, type Rig, snatWorld } from './snat-rig.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, client, isIpv6, podAt } = family
const { pod, enter, rigOf, toVip, fromClient, fromPod, portOf, connected } = snatWorld(family)
const { SYN, ACK, RST, FIN } = tcpFlag

if (skip === undefined) enter()

/** A connection that the pod has ended, of whose tuple this node remembers where it went. */
function over(rig: Rig, sourcePort = 40_000): number {
  const port = connected(rig, sourcePort)
  left(rig.send(fromPod(port, RST, { seq: 7 })))
  return port
}

test('a client that is not let in any more begins nothing by the tuple of a flow that is over', { skip }, (t) => {
  const rig = rigOf(t)
  over(rig)
  const live = connected(rig, 40_001)
  rig.serve([pod], { sources: [{ prefix: isIpv6 ? '2001:db8:77::/48' : '10.77.0.0/16', isAllowed: true }] })
  for (const sourcePort of [40_000, 40_002])
    assert.equal(rig.send(fromClient(SYN, sourcePort)).verdict, verdict.shot, `${sourcePort}`)
  assert.equal(rig.datapath.reasons()['source_not_allowed'], 2)
  assert.equal(portOf(rig.send(fromClient(ACK, 40_001, { seq: 1001 }))), live, 'what is established goes on')
})

test('nothing begins at a port that is served no more, though another Service has the same pod', { skip }, (t) => {
  const rig = rigOf(t)
  over(rig)
  rig.datapath.upsert({ ...frontendOf(vip, 81, [pod]), service: 'default/other' })
  rig.datapath.remove(frontendOf(vip, 80, [], 'TCP').id)
  const answer = left(rig.send(fromClient(SYN)))
  assert.deepEqual([answer.source, answer.destination, answer.view.getUint8(answer.l4 + 13) & RST], [vip, client, RST])
  assert.equal(rig.datapath.reasons()['unowned_port'], 1)
})

test('a connection by the tuple of one that is over goes where new ones go, at the second SYN at the latest', {
  skip,
}, (t) => {
  const rig = rigOf(t)
  for (const [n, more] of [{}, { service: 'default/other' }].entries()) {
    const sourcePort = 40_000 + n
    rig.serve([pod])
    over(rig, sourcePort)
    rig.datapath.upsert({ ...frontendOf(vip, 81, [pod]), service: 'default/third' })
    rig.datapath.remove(frontendOf(vip, 80, [], 'TCP').id)
    rig.serve([{ ...pod, address: podAt(6) }], more)
    assert.equal(rig.send(fromClient(SYN, sourcePort)).verdict, verdict.shot)
    assert.equal(left(rig.send(fromClient(SYN, sourcePort))).destination, podAt(6))
  }
})

test('who forges client and pod, and knows no number of theirs, ends no connection (RFC 5961)', { skip }, (t) => {
  const rig = rigOf(t)
  const port = connected(rig, 40_000)
  const goesOn = (what: string): void => {
    assert.equal(portOf(rig.send(fromClient(SYN, 40_000, { seq: 55 }))), port, what)
    assert.equal(portOf(rig.send(fromClient(ACK, 40_000, { seq: 1001 }))), port, what)
    assert.equal(left(rig.send(fromPod(port, ACK, { seq: 7, ack: 1001 }))).destinationPort, 40_000, what)
  }
  const far = { seq: 3_000_000_000, ack: 1_000_000_000 }
  const end = (): unknown => rig.send(fromClient(FIN | ACK, 40_000, { seq: far.ack - 1 }))
  end()
  left(rig.send(fromPod(port, FIN | ACK, far)))
  goesOn('a FIN of either end')
  end()
  left(rig.send(fromPod(port, SYN | ACK, far)))
  left(rig.send(fromPod(port, FIN | ACK, { ...far, seq: far.seq + 1 })))
  goesOn('as after another handshake')
  for (const seq of [6, 8, far.seq]) {
    left(rig.send(fromPod(port, RST, { seq })))
    assert.equal(portOf(rig.send(fromClient(SYN, 40_000, { seq: 55 }))), port, `a RST with ${seq}`)
  }
  goesOn('a RST')
  // With their own numbers they end it.
  rig.send(fromClient(FIN | ACK, 40_000, { seq: 1001, ack: 7 }))
  left(rig.send(fromPod(port, FIN | ACK, { seq: 7, ack: 1002 })))
  assert.notEqual(portOf(rig.send(fromClient(SYN, 40_000, { seq: 55 }))), port)
})

test('a pod that has lost much on the way to here, and got much at once, is still heard to end', { skip }, (t) => {
  const rig = rigOf(t, { first: 61_000, last: 61_000 })
  const port = connected(rig, 40_000)
  left(rig.send(fromPod(port, ACK, { seq: 7 + 1_000_000, ack: 1001 + 12_000_000 })))
  rig.send(fromClient(FIN | ACK, 40_000, { seq: 1001 + 12_000_000, ack: 7 }))
  left(rig.send(fromPod(port, FIN | ACK, { seq: 7 + 1_000_000, ack: 1002 + 12_000_000 })))
  assert.equal(rig.send(fromClient(SYN)).verdict, verdict.shot, 'a new one, and its port is not free yet')
})

test('nothing begins from what is no host, and no pod hears of it (RFC 1812 5.3.7)', { skip }, (t) => {
  const rig = rigOf(t)
  const none = isIpv6 ? ['ff02::1', 'ff0e::1', '::1', '::'] : ['224.0.0.5', '127.0.0.1', '0.0.0.0', '255.255.255.255']
  for (const source of none) {
    const ends = { ...toVip(40_000), source }
    assert.equal(rig.send(tcpFrame({ ...ends, flags: SYN })).verdict, verdict.shot, source)
    assert.equal(rig.send(udpFrame({ ...ends, data: new Uint8Array(8) })).verdict, verdict.shot, source)
  }
  assert.equal(rig.datapath.reasons()['not_answerable'], 2 * none.length)
})
