/**
 * Tests of single packets once more with herald_xdp in front: what it drops or sends back is taken for what TC has done
 * with it, so that a test finds the octets, counters, limits and events that it asks for whoever of both was it; what
 * passes is unchanged, and TC has it.
 */
import assert from 'node:assert/strict'
import { after } from 'node:test'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { runXdpProgram, type TestRun } from '../../src/sys/bpf.ts'
import { ifnameToIndex, stationAddress } from '../../src/sys/links.ts'
import { keepTags } from './features.ts'
import { ownMac } from './frames.ts'
import { enterNetwork, layCable } from './network.ts'

/** Of linux/bpf.h, and as what TC says the same. */
export const xdpVerdict = { drop: 1, pass: 2, tx: 3 } as const
const asOfTc = new Map([
  [xdpVerdict.drop as number, 2],
  [xdpVerdict.tx as number, 7],
])

class Early {
  #isChosen = false
  #uplink = 0
  #station: Uint8Array = new Uint8Array(6)
  /** Packets that were dropped, and sent back. */
  readonly #done = new Map([...asOfTc.keys()].map((verdict) => [verdict, 0]))

  get isChosen(): boolean {
    return this.#isChosen
  }

  /** From here on, for the process; at its end there must have been some of each. */
  choose(): void {
    this.#isChosen = true
    after(() => assert.ok(![...this.#done.values()].includes(0), `dropped and sent back: ${[...this.#done.values()]}`))
  }

  attach(datapath: KernelDatapath): void {
    if (this.#uplink === 0) {
      enterNetwork()
      layCable('early0', [])
      keepTags('early0')
      this.#uplink = ifnameToIndex('early0')
      this.#station = stationAddress(this.#uplink) ?? this.#station
    }
    datapath.attach(['early0'])
    const [found] = datapath.status.acceleration?.interfaces ?? []
    // A second agent leaves it to the first one.
    if (!/of somebody else/.test(found?.reason ?? '')) assert.deepEqual(found, { interface: 'early0', mode: 'native' })
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
    this.#done.set(run.verdict, (this.#done.get(run.verdict) ?? 0) + 1)
    return { ...run, verdict }
  }

  /** What is for the loopback, on which TC is run, is for the uplink here. */
  #runAtUplink(program: number, sent: Uint8Array): TestRun {
    const isOurs = Buffer.compare(sent.subarray(0, 6), Uint8Array.from(ownMac)) === 0
    const bytes = sent.slice()
    if (isOurs) bytes.set(this.#station)
    const run = runXdpProgram(program, bytes, this.#uplink)
    const packet = run.packet.slice()
    if (isOurs) packet.set(ownMac, run.verdict === xdpVerdict.tx ? 6 : 0)
    return { ...run, packet }
  }
}

export const early = new Early()
