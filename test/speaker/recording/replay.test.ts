import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HeraldError } from '../../../src/errors.ts'
import { Recorder } from '../../../src/speaker/recording/record.ts'
import { replay } from '../../../src/speaker/recording/replay.ts'
import { system } from '../../../src/speaker/session/system.ts'
import type { FromSpeaker, ToSpeaker } from '../../../src/speaker/protocol.ts'
import { Speaker } from '../../../src/speaker/speaker.ts'
import { waitFor } from '../../wait.ts'
import { neighborOf, nodeAddress, nodeAsn, Recorded } from '../pair.ts'

const key = 'a key that nobody may read'

/** Two sessions with real routers, one lost and back, routes that come and go; as lines. */
async function recordARun(): Promise<readonly string[]> {
  const lines: string[] = []
  const options = { listen: { host: nodeAddress, port: 0 }, isRestart: false, isForwardingPreserved: false }
  const recorder = new Recorder(system, options, 42, (line) => lines.push(JSON.stringify(line)))
  let states: readonly string[] = []
  const said: FromSpeaker[] = []
  const speaker: Speaker = new Speaker(options, recorder, (message) => {
    recorder.tell(message)
    said.push(message)
    if (message.type === 'answer') states = message.peers?.map(({ state }) => state) ?? []
  })
  const hear = (message: ToSpeaker): void => recorder.hear(message, (heard) => speaker.handle(heard))
  const established = (): boolean => {
    hear({ type: 'query', id: 1, query: { what: 'peers' } })
    return states.length === 2 && states.every((state) => state === 'Established')
  }
  await speaker.start()
  const routers = ['127.0.0.71', '127.0.0.72'].map((address, i) => ({
    address,
    asn: 65_011 + i,
    recorded: new Recorded(address),
  }))
  for (const { address, asn, recorded } of routers) {
    await recorded.speaker.start()
    recorded.speaker.handle({
      type: 'configure',
      neighbors: [
        neighborOf(asn, nodeAsn, nodeAddress, {
          peerPort: speaker.port ?? 0,
          sourceAddress: address,
          routerId: address,
          password: key,
        }),
      ],
    })
    recorded.speaker.handle({
      type: 'routes',
      prefixes: [
        { prefix: '198.51.100.0/24', routes: [{ neighbors: [`${asn}/${nodeAddress}`], attributes: { med: asn } }] },
      ],
    })
  }
  const neighbors = routers.map(({ address, asn, recorded }) =>
    neighborOf(nodeAsn, asn, address, {
      peerPort: recorded.speaker.port ?? 0,
      sourceAddress: nodeAddress,
      routerId: nodeAddress,
      password: key,
    }),
  )
  hear({ type: 'configure', neighbors })
  hear({
    type: 'routes',
    prefixes: ['192.0.2.1/32', '192.0.2.2/32'].map((prefix) => ({
      prefix,
      routes: [{ neighbors: neighbors.map(({ id }) => id), attributes: { communities: [65_000 * 65_536 + 1] } }],
    })),
  })
  hear({ type: 'synced' })
  await waitFor('both sessions', established)
  hear({ type: 'routes', prefixes: [{ prefix: '192.0.2.2/32', routes: [] }] })
  const [first] = routers
  await first?.recorded.stop('shutdown', 'maintenance')
  await waitFor('the loss', () =>
    said.some((message) => message.type === 'peer' && message.peer.lastReset?.text.includes('maintenance')),
  )
  hear({ type: 'stop', mode: 'shutdown', text: 'over' })
  await waitFor('stopped', () => said.some(({ type }) => type === 'stopped'))
  await routers[1]?.recorded.stop()
  return lines
}

test('a recorded run is repeated by the pure core to the octet, without a socket, a timer or a clock', async () => {
  const lines = await recordARun()
  const outcome = await replay(`# two routers\n${lines.join('\n')}\n`)
  assert.deepEqual(outcome.difference, undefined)
  assert.ok(outcome.inputs > 12 && outcome.outputs > 20, JSON.stringify(outcome))
  assert.equal(lines.join('').includes(key), false)

  const written = lines.findLastIndex((line) => line.includes('"out":"write"'))
  const changed = lines.map((line, i) => (i === written ? line.replace(/"bytes":"ff/, '"bytes":"00') : line))
  const { difference } = await replay(changed.join('\n'))
  assert.equal(difference?.line, written + 1)
  assert.match(difference?.replayed ?? '', /"bytes":"ff/)

  const missing = await replay(lines.filter((_, i) => i !== written).join('\n'))
  assert.match(missing.difference?.replayed ?? '', /"out":"write"/)

  const [head, ...rest] = lines
  const deaf = await replay([head, ...rest.filter((line) => !line.includes('"in":"data"'))].join('\n'))
  assert.notEqual(deaf.difference, undefined)

  assert.equal((await replay(`${lines.join('\n')}\n{"n":99999,"in":"da`)).difference, undefined)
})

test('what is no recording is refused by a line number', async () => {
  for (const text of ['', 'kind: Service', '{"herald":"recording","version":99}'])
    await assert.rejects(replay(text), (error) => error instanceof HeraldError && error.code === 'ERR_RECORDING')
  await assert.rejects(
    replay('{"herald":"recording","version":1,"at":0,"uptimeSec":0,"seed":1,"options":{}}\nnonsense\n\n'),
    /line 2/,
  )
})
