/**
 * Tests of single packets once more with herald_xdp in front: what it drops or sends back is taken for what TC has done
 * with it, so that a test finds the octets, counters, limits and events that it asks for whoever of both was it; what
 * passes is unchanged, and TC has it.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext } from 'node:test'
import { compileBpf } from '../../scripts/build-bpf.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { runXdpProgram, type TestRun } from '../../src/sys/bpf.ts'
import { messageOf } from '../../src/errors.ts'
import { ifnameToIndex, stationAddress } from '../../src/sys/links.ts'
import { keepTags } from './features.ts'
import { ownMac } from './frames.ts'
import { enterNetwork, ip, layCable } from './network.ts'

/** Of linux/bpf.h, and as what TC says the same. */
export const xdpVerdict = { drop: 1, pass: 2, tx: 3 } as const
const asOfTc = new Map([
  [xdpVerdict.drop as number, 2],
  [xdpVerdict.tx as number, 7],
])

/** What became of a packet in front of TC. */
type Done = 'dropped' | 'answered' | 'handed on'
/** The address of all other nodes, as a neighbor. */
export const neighborMac = [2, 0, 0, 0, 0, 0x99] as const

class Early {
  #isChosen = false
  #uplink = 0
  #name = 'early0'
  #station: Uint8Array = new Uint8Array(6)
  readonly #done = new Map<Done, number>()

  get isChosen(): boolean {
    return this.#isChosen
  }

  /** From here on, for the process; at its end there must have been some of each. */
  choose(...expected: readonly Done[]): void {
    this.#isChosen = true
    after(() => {
      for (const done of expected)
        assert.ok(this.#done.has(done), `${done}: none of ${JSON.stringify([...this.#done])}`)
    })
  }

  attach(datapath: KernelDatapath): void {
    if (this.#uplink === 0) {
      enterNetwork()
      // What reaches other nodes by a cable comes in by it too.
      if (ip('link').includes(': up0@')) this.#name = 'up0'
      else layCable(this.#name, [])
      keepTags(this.#name)
      this.#uplink = ifnameToIndex(this.#name)
      this.#station = stationAddress(this.#uplink) ?? this.#station
    }
    try {
      datapath.attach([this.#name])
    } catch (error) {
      // Of several agents at one interface only test runs are looked at.
      if (!/ is before ours /.test(messageOf(error))) throw error
      return
    }
    const [found] = datapath.status.acceleration?.interfaces ?? []
    // A second agent leaves it to the first one.
    if (/of somebody else/.test(found?.reason ?? '')) return
    const { packets: _, takes: __, ...rest } = found ?? {}
    assert.deepEqual(rest, { interface: this.#name, mode: 'native' })
  }

  /** Nodes that are reached by the uplink, where it has a way to them. */
  meet(addresses: readonly string[]): void {
    const routes = `${ip('-4', 'route')}${ip('-6', 'route')}`
    for (const address of addresses)
      if (routes.includes(` dev ${this.#name} `))
        ip('neigh', 'replace', address, 'lladdr', macText(neighborMac), 'dev', this.#name, 'nud', 'permanent')
  }

  /** undefined: TC has it. */
  run({ earlyProgram }: KernelDatapath, sent: Uint8Array): TestRun | undefined {
    if (!this.#isChosen || earlyProgram === undefined) return undefined
    const run = this.#runAtUplink(earlyProgram, sent)
    const verdict = asOfTc.get(run.verdict)
    if (verdict === undefined) {
      assert.deepEqual([run.verdict, ...run.packet], [xdpVerdict.pass, ...sent])
      return undefined
    }
    if (run.verdict === xdpVerdict.drop) assert.deepEqual(run.packet, sent)
    const isOnward = run.verdict === xdpVerdict.tx && isBehind(run.packet, neighborMac)
    const done = run.verdict === xdpVerdict.drop ? 'dropped' : isOnward ? 'handed on' : 'answered'
    this.#done.set(done, (this.#done.get(done) ?? 0) + 1)
    if (!isOnward) return { ...run, verdict }
    assert.deepEqual([...run.packet.subarray(6, 12)], [...this.#station])
    const packet = run.packet.slice()
    packet.set(sent.subarray(0, 12))
    return { ...run, packet, verdict }
  }

  /** What is for the loopback, on which TC is run, is for the uplink here. */
  #runAtUplink(program: number, sent: Uint8Array): TestRun {
    const isOurs = isBehind(sent, ownMac)
    const bytes = sent.slice()
    if (isOurs) bytes.set(this.#station)
    const run = runXdpProgram(program, bytes, this.#uplink)
    if (!isOurs || isBehind(run.packet, neighborMac)) return run
    const packet = run.packet.slice()
    packet.set(ownMac, run.verdict === xdpVerdict.tx ? 6 : 0)
    return { ...run, packet }
  }
}

const macText = (octets: readonly number[]): string => octets.map((o) => o.toString(16).padStart(2, '0')).join(':')
const isBehind = (bytes: Uint8Array, mac: readonly number[]): boolean => mac.every((octet, at) => bytes[at] === octet)

export const early = new Early()

/** A program that passes everything, compiled: what a veth sends from XDP arrives where its other end has one. */
export function passing(t: Pick<TestContext, 'after'>): string {
  const folder = mkdtempSync(join(tmpdir(), 'dp-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [source, object] = [join(folder, 'pass.bpf.c'), join(folder, 'pass.bpf.o')]
  const text = [
    '#include <linux/bpf.h>',
    '#include <bpf/bpf_helpers.h>',
    'SEC("xdp") int pass(struct xdp_md *xdp) { return xdp ? XDP_PASS : XDP_DROP; }',
    'char _license[] SEC("license") = "GPL";',
  ]
  writeFileSync(source, `${text.join('\n')}\n`)
  compileBpf(source, object)
  return object
}
