/** New flows go past netfilter for as long as somebody has looked at its rules a while ago, and live ones anyway. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import type { Traffic } from '../../src/datapath/datapath.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import type { KernelDatapathOptions } from '../../src/datapath/loading.ts'
import { schema } from '../../src/datapath/layout.ts'
import { indexKey } from '../../src/datapath/maps.ts'
import { permitSec } from '../../src/datapath/redirection.ts'
import { BpfMap, openPinned, runProgram } from '../../src/sys/bpf.ts'
import { familyOf } from './family.ts'
import { type Fixture, frontendOf, ingress, kernelFixture, verdict, whyNoKernel } from './fixture.ts'
import { tcpFlag, tcpFrame } from './frames.ts'
import { policiesOf } from './netfilter.ts'
import { enterNetwork, ip, layCable } from './network.ts'

const skip = whyNoKernel()
const { vip, client, podAt, nodeAt } = familyOf(import.meta.url)
const pod = { address: podAt(5), port: 8080 }
const toVip = { source: client, destination: vip, destinationPort: 80 }
const syn = (sourcePort: number): Uint8Array => tcpFrame({ ...toVip, sourcePort, flags: tcpFlag.SYN })
const ack = (sourcePort: number): Uint8Array => tcpFrame({ ...toVip, sourcePort, flags: tcpFlag.ACK, ack: 1 })
const { pass, redirect } = verdict

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
  layCable('pods0', [podAt(1)])
  ip('route', 'add', 'default', 'via', nodeAt(1), 'dev', 'up0')
}

function openIn(fixture: Fixture, options: Partial<KernelDatapathOptions>): KernelDatapath {
  const datapath = fixture.open(options)
  datapath.attach(['up0'])
  datapath.upsert(frontendOf(vip, 80, [pod]))
  return datapath
}

const verdicts = (datapath: KernelDatapath, ...frames: readonly Uint8Array[]): readonly number[] =>
  frames.map((bytes) => ingress(datapath, bytes).verdict)

function permitOf({ bpffs }: Fixture): BpfMap {
  return new BpfMap('permit', openPinned(`${bpffs}/herald/v${schema}/maps/permit`) ?? -1)
}

function untilNs(fixture: Fixture): bigint {
  const value = new Uint8Array(8)
  permitOf(fixture).lookup(indexKey(0), value)
  return new DataView(value.buffer).getBigUint64(0, true)
}

/** As long ago as it takes. */
function looked(fixture: Fixture, until: bigint): void {
  const value = Buffer.alloc(8)
  value.writeBigUInt64LE(until)
  permitOf(fixture).update(indexKey(0), value)
}

test('auto: new flows go through the stack once nobody has looked at netfilter for a while, live ones go on as they ' +
  'are, and who looks again lets new ones past it', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const datapath = openIn(fixture, { mode: 'auto', netfilter: policiesOf(() => undefined) })
  const now = (): bigint => process.hrtime.bigint()
  const left = Number((untilNs(fixture) - now()) / 1_000_000_000n)
  assert.ok(left <= permitSec && left > permitSec - 60, `${left} s`)
  assert.deepEqual(verdicts(datapath, syn(1)), [redirect])
  looked(fixture, now())
  assert.deepEqual(verdicts(datapath, ack(1), syn(2), ack(2), syn(1)), [redirect, pass, pass, pass])
  datapath.follow()
  assert.deepEqual(verdicts(datapath, syn(3), ack(2)), [redirect, pass], 'of one kind from its first packet on')
})

test('what is redirected by name waits for nobody who looks, and a successor that asks does not inherit that', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const first = openIn(fixture, { mode: 'redirect' })
  assert.equal(untilNs(fixture), 0xffff_ffff_ffff_ffffn)
  assert.deepEqual(verdicts(first, syn(1)), [redirect])
  first.close()
  fixture.open({ mode: 'auto', netfilter: policiesOf(() => undefined) })
  assert.ok(untilNs(fixture) <= process.hrtime.bigint() + BigInt(permitSec) * 1_000_000_000n)
})

test('interfaces that somebody else took out of the map, or wrote over there, are in it again after the next look', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const datapath = openIn(fixture, { mode: 'redirect' })
  const links = new BpfMap('links', openPinned(`${fixture.bpffs}/herald/v${schema}/maps/links`) ?? -1)
  const held = (): string[] => [...links.entries()].map((entry) => entry.join(':')).sort()
  const written = held()
  assert.ok(written.length >= 2, written.join(' '))
  for (const edit of [
    (key: Uint8Array): unknown => links.delete(key),
    (key: Uint8Array): unknown => links.update(key, indexKey(0)),
    (): unknown => links.update(indexKey(4_711), indexKey(7)),
  ]) {
    for (const [key] of [...links.entries()]) edit(key)
    assert.notDeepEqual(held(), written)
    datapath.follow()
    assert.deepEqual(held(), written)
  }
  assert.deepEqual(verdicts(datapath, syn(1)), [redirect])
})

test('auto: a rule that translates what begins keeps new flows in the stack, and live ones, which it would not be ' +
  'asked about there, past netfilter', { skip }, (t) => {
  const fixture = kernelFixture(t)
  let translated: string | undefined
  const asked: (readonly string[])[] = []
  const netfilter = {
    policies: () => undefined,
    rules: ({ pods, former, uplinks }: Traffic) => {
      asked.push([...[...pods.keys()].filter((each) => !former.has(each)), ...uplinks])
      const isMet = pods.has(translated ?? '') && !former.has(translated ?? '')
      return { policy: undefined, translation: isMet ? `something is done to ${translated}` : undefined }
    },
  }
  const datapath = openIn(fixture, { mode: 'auto', netfilter })
  assert.deepEqual(asked.at(-1), [pod.address, 'up0'])
  assert.deepEqual(verdicts(datapath, syn(1)), [redirect])
  translated = pod.address
  datapath.follow()
  assert.deepEqual([datapath.status.mode, datapath.status.modeReason], ['stack', `something is done to ${pod.address}`])
  assert.equal(untilNs(fixture), 0n)
  assert.deepEqual(verdicts(datapath, ack(1), syn(2), ack(2)), [redirect, pass, pass])
  translated = undefined
  datapath.follow()
  assert.deepEqual(verdicts(datapath, ack(1), syn(3)), [redirect, redirect])
  translated = podAt(6)
  datapath.upsert(frontendOf(vip, 81, [{ address: podAt(6), port: 8080 }]))
  assert.equal(datapath.status.modeReason, `something is done to ${podAt(6)}`, 'with the pod itself')
  assert.deepEqual(verdicts(datapath, ack(1), syn(4)), [redirect, pass])
  datapath.remove(frontendOf(vip, 81, []).id)
  datapath.follow()
  assert.deepEqual([datapath.status.mode, ...verdicts(datapath, syn(5))], ['redirect', redirect])
})

test('auto: what is in the way of rules of this network is found by reading them', { skip }, (t) => {
  const datapath = openIn(kernelFixture(t), { mode: 'auto' })
  assert.equal(datapath.status.modeReason, undefined)
  const program = client.includes(':') ? 'ip6tables-legacy' : 'iptables-nft'
  const rule = ['PREROUTING', '-p', 'tcp', '--dport', '8080', '-j', 'REDIRECT', '--to-ports', '3128']
  execFileSync(program, ['-t', 'nat', '-A', ...rule])
  datapath.follow()
  assert.match(datapath.status.modeReason ?? '', /^chain PREROUTING of table .*nat.* may meet flows with/)
  execFileSync(program, ['-t', 'nat', '-D', ...rule])
  datapath.follow()
  assert.deepEqual([datapath.status.mode, ...verdicts(datapath, syn(1))], ['redirect', redirect])
})

test('a first packet that comes marked begins its flow in the stack: rules of routing and of netfilter ask for marks', {
  skip,
}, (t) => {
  const datapath = openIn(kernelFixture(t), { mode: 'redirect' })
  const marked = (bytes: Uint8Array): number => runProgram(datapath.programs.ingress, bytes, 1, 0x10).verdict
  assert.deepEqual([marked(syn(1)), ...verdicts(datapath, ack(1), syn(2))], [pass, pass, redirect])
  assert.equal(marked(ack(2)), redirect, 'of one kind from its first packet on')
})
