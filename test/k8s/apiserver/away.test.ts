/** An API server that is away for an hour, in simulated time: nothing that was there is taken for gone. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import type { Clock } from '../../../src/clock/clock.ts'
import { systemClock } from '../../../src/clock/system-clock.ts'
import { waitFor } from '../../wait.ts'
import { type Request, status } from './fake-server.ts'
import { isList, path, ReflectorWorld } from './reflector-world.ts'

const hourMs = 3_600_000

/** A wait takes so long at most, and so much later it is then; what takes its time takes it all the same. */
class HurriedClock {
  longestMs = Infinity
  #skippedMs = 0
  readonly clock: Clock = {
    ...systemClock,
    monotonic: () => systemClock.monotonic() + this.#skippedMs,
    after: (ms, action) => {
      const least = Math.min(ms, this.longestMs)
      return systemClock.after(least, () => {
        this.#skippedMs += ms - least
        action()
      })
    },
  }
}

let world: ReflectorWorld

beforeEach(async () => {
  world = await ReflectorWorld.start()
})
afterEach(() => world.end())

const ways: Readonly<Record<string, (request: Request) => void>> = {
  'says 503': ({ stream }) => status(stream, 503, 'etcdserver: no leader'),
  'says 500 to all, as one whose store is away': ({ stream }) => status(stream, 500, 'context deadline exceeded'),
  'resets every request': ({ stream }) => stream.destroy(),
  'forgets what it had, and says 410': ({ stream }) => status(stream, 410, 'too old resource version'),
}

for (const [what, answer] of Object.entries(ways))
  test(`a server that ${what} for an hour takes nothing away, and what changed meanwhile comes when it is back`, async () => {
    for (const name of ['a', 'b', 'c']) world.server.put(path, name)
    const hurried = new HurriedClock()
    const { clock } = hurried
    const reflector = world.begin(undefined, clock)
    await world.isWatched()
    const [began, before] = [clock.monotonic(), [...world.log]]
    let asked = 0
    world.server.fault = (request) => {
      asked++
      answer(request)
      return true
    }
    hurried.longestMs = 1
    world.server.endWatches()
    await waitFor('an hour is over', () => clock.monotonic() - began > hourMs, { deadlineMs: 60_000 })
    // What was refused last waits for its next try, and that one for its answer.
    hurried.longestMs = 2_000
    assert.deepEqual(world.log, before)
    assert.ok(asked > 1, 'nobody asked it')
    world.server.setVersion(1_000)
    world.server.put(path, 'd')
    world.server.forget(path, 'b')
    world.server.compactedAt = 1_000
    world.server.fault = () => false
    await world.has('d')
    await waitFor('b is gone', () => !world.objects.has('b'))
    assert.deepEqual(world.removed, ['b'])
    assert.ok(world.server.requests.some(isList))
    await waitFor('nothing is said any more', () => reflector.state.problem === undefined)
  })
