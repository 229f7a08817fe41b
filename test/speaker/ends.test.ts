/** A speaker that ends while something else ends: it says that it has stopped, and dials nobody any more. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Neighbor } from '../../src/desired/model.ts'
import { parseAddress } from '../../src/ip/address.ts'
import { prefixOf } from '../../src/ip/prefix.ts'
import { InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'
import { neighborOf, Recorded } from './pair.ts'
import { Router } from './router.ts'
import { seen } from './virtual.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)

class Stage {
  readonly network = new InMemoryNetwork()
  readonly host = this.network.host(address('192.0.2.1'))
  readonly node = new Recorded({ host: '::', port: 179 }, { isRestart: false, isForwardingPreserved: false }, this.host)
  readonly router = new Router(this.network.host(address('192.0.2.11')), 64_601, address('192.0.2.1'), [
    prefixOf(0x14000000, 24),
  ])

  configure(...more: readonly Partial<Neighbor>[]): void {
    const neighbors = more.map((one) =>
      neighborOf(64_512, 64_601, '192.0.2.11', {
        nextHops: {},
        holdTimeSec: 90,
        gracefulRestart: { restartTimeSec: 120, notification: true },
        ...one,
      }),
    )
    this.node.speaker.handle({ type: 'configure', neighbors })
  }

  async start(): Promise<void> {
    await this.node.speaker.start()
    this.configure({})
    await seen(this.network, 'Established', () => this.node.peers[0]?.state === 'Established')
    await this.network.advance(5)
  }

  get hasStopped(): number {
    return this.node.said.filter(({ type }) => type === 'stopped').length
  }
}

/** What is ending, or beginning, when the speaker is told to stop. */
const before: Readonly<Record<string, (stage: Stage) => void>> = {
  'nothing else': () => {},
  'a session parameter that changed': (stage) => stage.configure({ multihopTtl: 3 }),
  'two changes of it, one after the other': (stage) => {
    stage.configure({ multihopTtl: 3 })
    stage.configure({ multihopTtl: 4 })
  },
  'the removal of the neighbor': (stage) => stage.configure(),
  'a removal, and the neighbor there again': (stage) => {
    stage.configure()
    stage.configure({})
  },
  'a reset by command': ({ node }) =>
    node.speaker.handle({ type: 'command', id: 1, command: { what: 'reset', peer: '*' } }),
  'a refresh': ({ router }) => router.askForRoutes(),
  'the loss of the peer': ({ router }) => router.restart([]),
  'a drain': ({ node }) => node.speaker.handle({ type: 'configure', neighbors: [], isDraining: true }),
  'a stop before': ({ node }) => node.speaker.handle({ type: 'stop', mode: 'shutdown', text: '' }),
}

for (const [what, begin] of Object.entries(before))
  for (const mode of ['restart', 'shutdown'] as const)
    test(`a ${mode} with ${what} under way ends once, dials nobody and hears nothing more`, async () => {
      for (const moment of [0, 0.0005, 0.5])
        for (const isDeaf of [false, true]) {
          const stage = new Stage()
          await stage.start()
          // A peer that does not read keeps a connection open for the grace of its close.
          stage.router.host.isUnplugged = isDeaf
          begin(stage)
          await stage.network.advance(moment)
          stage.node.speaker.handle({ type: 'stop', mode, text: 'upgrade' })
          await seen(stage.network, 'stopped', () => stage.hasStopped > 0, 10)
          const { length } = stage.host.dialled
          stage.configure({ multihopTtl: 9 })
          stage.node.speaker.handle({ type: 'command', id: 2, command: { what: 'reset', peer: '*' } })
          await stage.network.advance(3_600)
          assert.equal(stage.host.dialled.length, length, 'nobody is dialled')
          assert.equal(stage.hasStopped, 1)
          for (const session of stage.router.sessions) assert.deepEqual(session.faults, [])
        }
    })
