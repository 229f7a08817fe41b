import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { FsmAction, FsmEvent, FsmFacts, TimerName, Transition } from '../../../src/bgp/fsm/events.ts'
import { step, table } from '../../../src/bgp/fsm/table.ts'
import type { FsmState } from '../../../src/bgp/fsm/events.ts'

const octet = fc.integer({ min: 0, max: 255 })
const holdTime = fc.constantFrom(0, 3, 9, 90, 65535)
/** As JSON makes them. */
const plainObjects = { noNullPrototype: true } as const
const plain = [
  'start',
  'abandon',
  'idleHoldExpired',
  'connectRetryExpired',
  'holdExpired',
  'keepaliveExpired',
  'sendHoldExpired',
  'stableExpired',
  'tcpUp',
  'collisionDump',
  'keepaliveReceived',
  'updateReceived',
  'routeRefreshReceived',
] as const

const event: fc.Arbitrary<FsmEvent> = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...plain).map((type): FsmEvent => ({ type })) },
  {
    weight: 2,
    arbitrary: holdTime.map(
      (holdTimeSec): FsmEvent => ({ type: 'openReceived', holdTimeSec, keepaliveSec: Math.floor(holdTimeSec / 3) }),
    ),
  },
  fc.constant<FsmEvent>({ type: 'tcpFailed', reason: 'reset' }),
  fc.record({ type: fc.constant('stop' as const), subcode: octet, data: fc.array(octet) }, plainObjects),
  fc.record({ type: fc.constant('fault' as const), code: octet, subcode: octet, data: fc.array(octet) }, plainObjects),
  fc.record(
    { type: fc.constant('notificationReceived' as const), code: octet, subcode: octet, data: fc.array(octet) },
    plainObjects,
  ),
  fc.record({ type: fc.constant('unexpectedMessage' as const), messageType: octet }, plainObjects),
  fc.record(
    {
      type: fc.constant('configured' as const),
      changed: fc.subarray(['passive', 'connectRetrySec', 'delayOpenSec', 'keepaliveSec', 'nextHops']),
    },
    plainObjects,
  ),
)

const run = fc.record({
  events: fc.array(fc.tuple(event, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })), { maxLength: 60 }),
  passive: fc.boolean(),
})

interface Step {
  readonly before: FsmState
  readonly event: FsmEvent
  readonly transition: Transition
  /** After the step: what a driver would hold. */
  readonly armed: ReadonlyMap<TimerName, number>
  readonly isOpen: boolean
}

/** Plays events as a driver does: socket and timers follow the actions. */
function play({
  events,
  passive,
}: {
  readonly events: readonly (readonly [FsmEvent, number])[]
  readonly passive: boolean
}): Step[] {
  let state: FsmState = 'Idle'
  let facts: FsmFacts = {
    passive,
    isConnected: false,
    isPeerConnected: false,
    connectRetrySec: 120,
    delayOpenSec: 0,
    dialFailures: 0,
    sessionFailures: 0,
    holdTimeSec: 0,
    keepaliveSec: 0,
    random: 0,
  }
  const armed = new Map<TimerName, number>()
  let isOpen = false
  const steps: Step[] = []
  for (const [event, random] of events) {
    const isConnected = event.type === 'tcpUp' || facts.isConnected
    const transition = step(state, { ...facts, random, isConnected }, event)
    if (event.type === 'tcpUp') isOpen = true
    for (const action of transition.actions) {
      if (action.do === 'arm') armed.set(action.timer, action.sec)
      if (action.do === 'disarm') armed.delete(action.timer)
      if (action.do === 'close') isOpen = false
      if (action.do === 'dial') isOpen = true
    }
    steps.push({ before: state, event, transition, armed: new Map(armed), isOpen })
    state = transition.next
    const isClosed = has(transition.actions, 'close') || has(transition.actions, 'dial')
    facts = { ...facts, ...transition.facts, isConnected: isConnected && !isClosed }
  }
  return steps
}

const has = (actions: readonly FsmAction[], kind: FsmAction['do']): boolean =>
  actions.some((action) => action.do === kind)
const check = (property: (steps: readonly Step[]) => void): void =>
  fc.assert(
    fc.property(run, (input) => property(play(input))),
    { numRuns: 500 },
  )

test('routes pass only in Established: nothing is delivered and no session comes up outside it (RFC 4271 8.2.2)', () => {
  check((steps) => {
    for (const { before, transition } of steps) {
      if (has(transition.actions, 'deliver'))
        assert.deepEqual([before, transition.next], ['Established', 'Established'])
      if (has(transition.actions, 'sessionUp'))
        assert.deepEqual([before, transition.next], ['OpenConfirm', 'Established'])
    }
  })
})

test('every way into Idle closes the socket and leaves no timer but the idle hold', () => {
  check((steps) => {
    for (const { before, transition, armed, isOpen } of steps) {
      if (transition.next !== 'Idle' || before === 'Idle') continue
      assert.equal(isOpen, false)
      assert.deepEqual(
        [...armed.keys()].filter((timer) => timer !== 'idleHold'),
        [],
      )
    }
  })
})

test('a connection always has a timer that ends it, but in Established with hold time 0 (RFC 4271 4.2)', () => {
  check((steps) => {
    for (const { transition, armed } of steps) {
      if (transition.next === 'OpenSent' || transition.next === 'OpenConfirm') {
        const actions = transition.actions.filter((action) => action.do === 'arm' && action.timer === 'hold')
        for (const action of actions) assert.ok(action.do === 'arm' && action.sec <= 30)
        assert.ok(armed.has('hold'), transition.next)
      }
    }
  })
})

test('no state waits for ever: Idle after a failure, Connect and a dialling Active have a timer', () => {
  check((steps) => {
    for (const { transition, armed, event, before } of steps) {
      if (transition.next === 'Connect') assert.ok(armed.has('connectRetry'))
      if (transition.next === 'Idle' && before !== 'Idle') {
        const isMeant = event.type === 'stop' || event.type === 'abandon' || event.type === 'collisionDump'
        assert.equal(armed.has('idleHold'), !isMeant)
      }
    }
  })
})

test('waits are positive, finite and bounded, and one event gives a bounded number of actions', () => {
  check((steps) => {
    for (const { transition } of steps) {
      assert.ok(transition.actions.length <= 10)
      for (const action of transition.actions)
        if (action.do === 'arm') assert.ok(action.sec > 0 && action.sec <= 2 * 65535)
    }
  })
})

test('a NOTIFICATION is never answered, and after one is sent the connection closes (RFC 4271 6.4)', () => {
  check((steps) => {
    for (const { event, transition } of steps) {
      if (event.type === 'notificationReceived') assert.equal(has(transition.actions, 'notify'), false)
      const at = transition.actions.findIndex((action) => action.do === 'notify')
      if (at >= 0) assert.equal(transition.actions[at + 1]?.do, 'close')
    }
  })
})

test('events and transitions survive JSON, so that a session can be recorded and replayed', () => {
  check((steps) => {
    for (const { event, transition } of steps) {
      assert.deepEqual(JSON.parse(JSON.stringify(event)), event)
      assert.deepEqual(JSON.parse(JSON.stringify(transition.actions)), transition.actions)
    }
  })
})

test('the table is total: every state has a cell for every event', () => {
  const types = Object.keys(table.Idle).sort()
  assert.equal(types.length, 21)
  for (const row of Object.values(table)) assert.deepEqual(Object.keys(row).sort(), types)
})
