import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HeraldError } from '../../src/errors.ts'
import { rehearse, rehearseSockets } from '../../src/speaker/rehearsal.ts'
import { system } from '../../src/speaker/session/system.ts'

test('a rehearsal brings a session up, sends a table and forgets it, as often as it says', async () => {
  // Six rounds of 300 prefixes: every one arrived, in every round.
  assert.equal(await rehearse(), 1_800)
})

test('a rehearsal over sockets does the same on loopback, and leaves no port open', async () => {
  const ports: number[] = []
  const listen: typeof system.listen = async (options) => {
    const listener = await system.listen(options)
    ports.push(listener.port)
    return listener
  }
  assert.equal(await rehearseSockets({ ...system, listen }), 600)
  assert.equal(ports.length, 1)
  const again = await system.listen({ host: '127.0.0.1', port: ports[0] ?? 0, onRefused: () => {} })
  await again.close()
})

test('without loopback the rehearsal over sockets ends at once, or when its time is over', async () => {
  const listen: typeof system.listen = () => Promise.reject(new HeraldError('ERR_BGP_LISTEN', 'no loopback'))
  assert.equal(await rehearseSockets({ ...system, listen }), 0)
  // Nobody listens at the end of this port.
  const dial: typeof system.dial = (options) => system.dial({ ...options, port: 1 })
  assert.equal(await rehearseSockets({ ...system, dial }), 0)
})
