/**
 * Tests of single packets once more with flows that go past netfilter: what a test says of the way through the stack
 * has to be so of this one, but for one hop and the verdict, which are taken back here.
 */
import assert from 'node:assert/strict'
import { after } from 'node:test'
import { tunnelPort } from '../../src/datapath/datapath.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { runProgram, type TestRun } from '../../src/sys/bpf.ts'
import { ifnameToIndex } from '../../src/sys/links.ts'
import { familyOf } from './family.ts'
import { UDP, withLifetime } from './frames.ts'
import { enterNetwork, ip, layCable } from './network.ts'

const families = [familyOf(''), familyOf('?ipv6')]
const clientNets = ['198.51.100.0/24', '2001:db8:51:100::/64']
const redirectVerdict = 7
const passVerdict = -1

const isIpv4 = (bytes: Uint8Array): boolean => (bytes[14] ?? 0) >> 4 === 4
const lifetimeOf = (bytes: Uint8Array): number => bytes[isIpv4(bytes) ? 22 : 21] ?? 0

/** By destination: 10.1.0.0/16, fd00:10:1::/48. */
function isToPod(bytes: Uint8Array): boolean {
  const prefix = isIpv4(bytes) ? { at: 30, octets: [10, 1] } : { at: 38, octets: [0xfd, 0, 0, 0x10, 0, 1] }
  return prefix.octets.every((octet, n) => bytes[prefix.at + n] === octet)
}

/** What a node hands on to another one. */
function isTunnelled(bytes: Uint8Array): boolean {
  const l4 = isIpv4(bytes) ? 14 + ((bytes[14] ?? 0) & 15) * 4 : 54
  return (
    (bytes[isIpv4(bytes) ? 23 : 20] ?? 0) === UDP && ((bytes[l4 + 2] ?? 0) << 8) + (bytes[l4 + 3] ?? 0) === tunnelPort
  )
}

class Past {
  #isChosen = false
  #isLaid = false
  #podMac: readonly number[] = []
  #podIndex = 0
  /** Packets that went past netfilter: to pods, and back. */
  readonly #went = [0, 0]

  get isChosen(): boolean {
    return this.#isChosen
  }

  /** From here on, for the process; at its end there must have been some. */
  choose(): void {
    this.#isChosen = true
    after(() =>
      assert.ok(
        this.#went.every((count) => count > 0),
        `went past netfilter: ${this.#went.join(', ')}`,
      ),
    )
  }

  attach(datapath: KernelDatapath): void {
    if (!this.#isLaid) this.#lay()
    this.#isLaid = true
    datapath.attach(['up0'])
  }

  /** A test may have laid the uplink by itself, of its family. */
  #lay(): void {
    enterNetwork()
    layCable(
      'up0',
      families.map(({ nodeAt }) => nodeAt(250)),
    )
    layCable(
      'pods0',
      families.map(({ podAt }) => podAt(1)),
    )
    // None by default: some tests have an address to which no route leads.
    for (const [n, { nodeAt }] of families.entries()) ip('route', 'replace', clientNets[n] ?? '', 'via', nodeAt(1))
    const mac = /ether (\S+)/.exec(ip('link', 'show', 'pods0'))?.[1] ?? ''
    this.#podMac = mac.split(':').map((octet) => parseInt(octet, 16))
    this.#podIndex = ifnameToIndex('pods0')
  }

  asOfStack(run: TestRun, sent: Uint8Array): TestRun {
    if (run.verdict !== redirectVerdict || !isToPod(run.packet)) return run
    // An answer to a client in a pod goes there too, by where it came from.
    if (!isTunnelled(sent) && lifetimeOf(run.packet) !== lifetimeOf(sent) - 1) return run
    this.#went[0] = (this.#went[0] ?? 0) + 1
    return { ...run, verdict: passVerdict, packet: withLifetime(run.packet, (lifetime) => lifetime + 1) }
  }

  /** undefined: the program for pods left it to the stack, as it was. */
  reply(datapath: KernelDatapath, sent: Uint8Array): TestRun | undefined {
    const run = this.fromPod(datapath, sent)
    if (run.verdict === passVerdict) {
      assert.deepEqual(run.packet, sent)
      return undefined
    }
    if (run.verdict !== redirectVerdict) return run
    this.#went[1] = (this.#went[1] ?? 0) + 1
    return { ...run, verdict: passVerdict, packet: withLifetime(run.packet, (lifetime) => lifetime + 1) }
  }

  /** Runs the program for pods as on their interface, by which a frame for that comes in. */
  fromPod(datapath: KernelDatapath, sent: Uint8Array): TestRun {
    const bytes = sent.slice()
    bytes.set(this.#podMac)
    const run = runProgram(datapath.podProgram, bytes, 1, 0, this.#podIndex)
    const packet = run.packet.slice()
    packet.set(sent.subarray(0, 6))
    return { ...run, packet }
  }
}

export const past = new Past()
