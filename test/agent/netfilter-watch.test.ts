import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  confirmMs,
  glanceMs,
  lastingMs,
  mostIdleMs,
  mostPauseMs,
  NetfilterWatch,
  thoroughMs,
} from '../../src/agent/netfilter-watch.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { Traffic } from '../../src/datapath/datapath.ts'
import { permitSec } from '../../src/datapath/redirection.ts'

const firewall = 'chain FORWARD of table ip filter (nftables) has a rule with the verdict drop'
const proxy = 'chain PREROUTING of table ip nat (nftables) may meet flows with the target REDIRECT'

/** Rules, with a number that tells of their changes; what looking at them costs is time of the clock. */
function bench({ tellsChanges = true, readMs = 1 } = {}) {
  const clock = new VirtualClock()
  const rules = {
    now: undefined as string | undefined,
    proxied: undefined as string | undefined,
    walled: undefined as string | undefined,
    number: 0,
    read: -1,
    reads: 0,
    fails: false,
  }
  const looker = {
    hasChanged: () => tellsChanges && rules.number !== rules.read,
    policies: (): string | undefined => {
      rules.reads++
      rules.read = rules.number
      clock.advance(readMs)
      if (rules.fails) throw new Error('ENOBUFS')
      return rules.now
    },
    rules: ({ pods }: Traffic) => ({
      policy: pods.has(rules.walled ?? '') ? firewall : undefined,
      translation: pods.has(rules.proxied ?? '') ? proxy : undefined,
    }),
  }
  const watch = new NetfilterWatch(looker, clock)
  const told: (string | undefined)[] = []
  watch.start(() => told.push(watch.policies()))
  const put = (now: string | undefined): void => {
    rules.now = now
    rules.number++
  }
  return { clock, rules, watch, told, put }
}

test('what is in the way is known before anything is opened, and a rule that comes within three seconds', () => {
  const { clock, watch, told, put } = bench()
  assert.equal(watch.policies(), undefined)
  put(firewall)
  clock.advance(glanceMs)
  assert.deepEqual([watch.policies(), told], [firewall, [firewall]])
})

test('what goes has to be gone for ten minutes, and each time that it was back for a moment begins them anew', () => {
  const { clock, watch, told, put } = bench()
  put(firewall)
  clock.advance(glanceMs)
  for (let flap = 0; flap < 5; flap++) {
    put(undefined)
    clock.advance(lastingMs - 10 * glanceMs)
    assert.equal(watch.policies(), `${firewall}; it is gone, and has to be for 10 minutes`)
    put(firewall)
    clock.advance(glanceMs)
    assert.equal(watch.policies(), firewall)
  }
  put(undefined)
  clock.advance(lastingMs + 2 * glanceMs)
  assert.equal(watch.policies(), undefined)
  assert.equal(told.at(-1), undefined)
  assert.equal(told.filter((each) => each === undefined).length, 1, 'back once')
})

test('rules that cannot be read are in the way, and are read again', () => {
  const { clock, rules, watch, put } = bench()
  rules.fails = true
  put(undefined)
  clock.advance(glanceMs)
  assert.match(watch.policies() ?? '', /^it cannot be seen what netfilter does: ENOBUFS$/)
  rules.fails = false
  clock.advance(60_000)
  assert.match(watch.policies() ?? '', /ENOBUFS; it is gone/)
})

test('a change that no number tells of is found within half a minute', () => {
  const { clock, rules, watch } = bench({ tellsChanges: false })
  rules.now = firewall
  clock.advance(30_000 + glanceMs)
  assert.equal(watch.policies(), firewall)
})

test(
  'rules that are read in a millisecond take less than five of a minute, and those that change all the time and take ' +
    'fifty less than a hundredth',
  () => {
    const idle = bench()
    const began = idle.rules.reads
    idle.clock.advance(600_000)
    assert.ok((idle.rules.reads - began) / 10 < 5, `${idle.rules.reads} readings`)
    const busy = bench({ readMs: 50 })
    for (let second = 0; second < 600; second++) {
      busy.put(undefined)
      busy.clock.advance(1000)
    }
    assert.ok(busy.rules.reads > 60 && busy.rules.reads * 50 <= 0.011 * busy.clock.monotonic(), `${busy.rules.reads}`)
  },
)

test('a watch that was stopped looks no more', () => {
  const { clock, rules, watch } = bench()
  watch.stop()
  const before = rules.reads
  clock.advance(120_000)
  assert.equal(rules.reads, before)
})

test('a rule that is about a pod is in the way once it is a backend, and ten minutes longer than that', () => {
  const { clock, rules, watch, told } = bench()
  const of = (...pods: readonly string[]): Traffic => ({
    pods: new Map(pods.map((pod) => [pod, []])),
    ...{ former: new Set(), shown: new Set(), uplinks: [], elsewhere: [] },
  })
  const [one, both] = [of('10.1.0.2'), of('10.1.0.2', '10.1.0.3')]
  rules.proxied = '10.1.0.3'
  assert.equal(watch.rules(one).translation, undefined)
  assert.equal(watch.rules(both).translation, proxy)
  assert.match(watch.rules(one).translation ?? '', /REDIRECT; it is gone, and has to be for 10 minutes/)
  assert.deepEqual([watch.policies(), watch.rules(one).policy], [undefined, undefined], 'of no flow that has begun')
  rules.walled = '10.1.0.3'
  assert.equal(watch.rules(both).policy, firewall)
  assert.match(watch.rules(one).policy ?? '', /drop; it is gone, and has to be for 10 minutes/)
  clock.advance(lastingMs + glanceMs)
  assert.equal(watch.rules(one).translation, undefined)
  told.length = 0
  rules.proxied = '10.1.0.2'
  clock.advance(thoroughMs + glanceMs)
  assert.equal(told.length, 1, 'a reading asks about the traffic of the last question')
  assert.equal(watch.rules(one).translation, proxy)
})

test('that nothing has changed is told once a minute', () => {
  const { clock, told } = bench()
  clock.advance(10 * confirmMs + glanceMs)
  assert.ok(told.length >= 9 && told.length <= 10, `told ${told.length} times`)
})

test('a process that stood still while it read looks again before a look is no longer believed', () => {
  assert.ok(mostPauseMs + glanceMs < permitSec * 1000)
  for (const [tellsChanges, withinMs] of [
    [true, mostPauseMs],
    [false, mostIdleMs],
  ] as const) {
    const { clock, watch, put } = bench({ tellsChanges, readMs: 600_000 })
    put(firewall)
    clock.advance(withinMs + glanceMs)
    assert.equal(watch.policies(), firewall, `changes are told: ${tellsChanges}`)
  }
})
