/** A path of which the routing table says whether routers are on it, asked again while nobody answers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BfdPath, type BfdReport, idleReport, type PathWatch, type WantedPath } from '../../../src/bfd/path.ts'
import { VirtualClock } from '../../../src/clock/virtual-clock.ts'
import type { BfdSettings } from '../../../src/desired/model.ts'
import { watchRouted } from '../../../src/speaker/session/routed-path.ts'

const settings: BfdSettings = {
  receiveIntervalMs: 100,
  transmitIntervalMs: 100,
  detectMultiplier: 3,
  isPassive: false,
}
const path: WantedPath = { peer: '192.0.2.2', minimumTtl: 1 }

interface Begun {
  readonly path: BfdPath
  settings: BfdSettings
  readonly told: (report: BfdReport) => void
  isClosed: boolean
}

function world(wanted: WantedPath = path): {
  readonly begun: readonly Begun[]
  readonly clock: VirtualClock
  readonly reports: readonly BfdReport[]
  readonly watch: PathWatch
  turn(isBehindRouter: boolean): void
} {
  const begun: Begun[] = []
  const clock = new VirtualClock()
  const reports: BfdReport[] = []
  let isBehindRouter = false
  const ports = {
    watch: (of: BfdPath, own: BfdSettings, told: (report: BfdReport) => void): PathWatch => {
      const one: Begun = { path: of, settings: own, told, isClosed: false }
      begun.push(one)
      return { configure: (next) => void (one.settings = next), close: () => void (one.isClosed = true) }
    },
    isBehindRouter: () => isBehindRouter,
    every: (ms: number, action: () => void): (() => void) => {
      let wait = clock.after(ms, function again() {
        wait = clock.after(ms, again)
        action()
      })
      return () => wait.cancel()
    },
  }
  const watch = watchRouted(ports, wanted, settings, (report) => void reports.push(report))
  return { begun, clock, reports, watch, turn: (is) => void (isBehindRouter = is) }
}

const report = (state: BfdReport['state']): BfdReport => ({ ...idleReport(''), state })
const kinds = (begun: readonly Begun[]): readonly string[] =>
  begun.map(({ path: { isMultihop }, isClosed }) => `${isMultihop ? 'multi' : 'single'}${isClosed ? ' over' : ''}`)

test('a peer that is reached by another way later is watched by that one, with the timers of then (RFC 5883 3)', () => {
  const { begun, clock, reports, watch, turn } = world()
  begun[0]?.told(report('Up'))
  turn(true)
  clock.advance(60_000)
  assert.deepEqual(kinds(begun), ['single'])
  // Whoever is up says by itself that the way is another.
  begun[0]?.told(report('Down'))
  watch.configure({ ...settings, detectMultiplier: 5 })
  clock.advance(5_000)
  assert.deepEqual(kinds(begun), ['single over', 'multi'])
  assert.equal(begun[1]?.settings.detectMultiplier, 5)
  begun[0]?.told(report('AdminDown'))
  begun[1]?.told(report('Up'))
  assert.deepEqual(
    reports.map(({ state }) => state),
    ['Up', 'Down', 'Up'],
  )
  begun[1]?.told(report('Down'))
  turn(false)
  clock.advance(5_000)
  assert.deepEqual(kinds(begun), ['single over', 'multi over', 'single'])
  watch.close()
  turn(true)
  clock.advance(60_000)
  assert.deepEqual([kinds(begun).at(-1), begun.length, clock.pending], ['single over', 3, 0])
})

test('while nothing about the way is another nothing is begun anew, and what was said is never asked', () => {
  const { begun, clock } = world()
  clock.advance(600_000)
  assert.deepEqual(kinds(begun), ['single'])
  const said = world({ ...path, isMultihop: false })
  said.turn(true)
  said.clock.advance(600_000)
  assert.deepEqual([kinds(said.begun), said.clock.pending], [['single'], 0])
})
