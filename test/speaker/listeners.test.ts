/** Ports that neighbors ask for beside the one of the speaker. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAddress } from '../../src/ip/address.ts'
import type { Neighbor } from '../../src/desired/model.ts'
import { InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'
import { Recorder } from '../../src/speaker/recording/record.ts'
import { replay } from '../../src/speaker/recording/replay.ts'
import { Speaker } from '../../src/speaker/speaker.ts'
import { neighborOf, Recorded } from './pair.ts'
import { agreeable, ScriptedPeer } from './virtual.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const own = address('192.0.2.1')
const fresh = { isRestart: false, isForwardingPreserved: false }

async function stage(main: number | undefined) {
  const network = new InMemoryNetwork()
  const host = network.host(own)
  const node = new Recorded(main === undefined ? undefined : { host: '::', port: main }, fresh, host)
  const peers = [2, 3].map((last) => new ScriptedPeer(network.host(address(`192.0.2.${last}`)), own))
  await node.speaker.start()
  const configure = async (...ports: readonly (number | undefined)[]): Promise<void> => {
    const neighbors = ports.map(
      (port, index): Neighbor =>
        neighborOf(64_512, 64_513, `192.0.2.${2 + index}`, {
          passive: true,
          ...(port === undefined ? {} : { listenPort: port }),
        }),
    )
    node.speaker.handle({ type: 'configure', neighbors })
    await network.advance(0.1)
  }
  /** Which of the ports each peer reaches. */
  const reached = async (...ports: readonly number[]): Promise<number[][]> => {
    const dials = peers.map((peer) => ports.map((port) => peer.dial(port)))
    await network.advance(0.5)
    const open = dials.map((all) => ports.filter((_, index) => all[index]?.isUp === true))
    for (const connection of dials.flat()) connection.transport.destroy()
    await network.advance(0.5)
    return open
  }
  const problems = (): readonly string[] => {
    const last = node.said.findLast((said) => said.type === 'problems')
    return last?.type === 'problems' ? last.texts : []
  }
  return { network, host, node, peers, configure, reached, problems }
}

test('a neighbor is awaited on the port that it asks for, and still on that of the speaker; the others are not', async () => {
  const { configure, reached, problems } = await stage(179)
  await configure(1790, undefined)
  assert.deepEqual(await reached(179, 1790, 1791), [[179, 1790], [179]])
  assert.deepEqual(problems(), [])
})

test('a port is opened and closed as neighbors ask for it, and a change costs no session', async () => {
  const { network, node, peers, configure, reached } = await stage(179)
  await configure(1790, 1790)
  assert.deepEqual(await reached(1790), [[1790], [1790]])
  const connection = peers[0]?.dial(1790)
  await network.advance(0.1)
  if (connection !== undefined) agreeable()(connection)
  await network.advance(0.1)
  assert.equal(node.peers[0]?.state, 'Established')
  await configure(1791, undefined)
  assert.deepEqual(node.peers[0]?.state, 'Established')
  const [, second] = await reached(1790, 1791)
  assert.deepEqual(second, [])
  assert.deepEqual([node.peers[0]?.state, node.peers[0]?.flaps], ['Established', 0])
})

test('a port that is taken is a problem while it is, costs nothing else, and is tried again', async () => {
  const { host, configure, reached, problems } = await stage(179)
  const other = await host.listen({ host: '::', port: 1790, onRefused: () => {} })
  await configure(1790, 1791)
  await configure(1790, 1791)
  assert.equal(problems().length, 1)
  assert.match(problems()[0] ?? '', /port 1790: EADDRINUSE; its neighbors are dialled/)
  assert.deepEqual(await reached(179, 1791), [[179], [179, 1791]])
  await other.close()
  await configure(1790, 1791)
  assert.deepEqual(await reached(1790), [[1790], []])
  assert.deepEqual(problems(), [])
})

test('the port of the speaker is not opened twice, and without a listener none is', async () => {
  const { configure, reached, problems } = await stage(179)
  await configure(179, undefined)
  assert.deepEqual([await reached(179), problems()], [[[179], [179]], []])
  const none = await stage(undefined)
  await none.configure(1790, undefined)
  assert.deepEqual(await none.reached(179, 1790), [[], []])
})

test('a stop closes every port', async () => {
  const { network, node, configure, reached } = await stage(179)
  await configure(1790, 1791)
  node.speaker.handle({ type: 'stop', mode: 'shutdown', text: '' })
  await network.advance(5)
  assert.deepEqual(await reached(179, 1790, 1791), [[], []])
})

test('a recording with several ports repeats, the taken one too', async () => {
  const network = new InMemoryNetwork()
  const host = network.host(own)
  const peer = new ScriptedPeer(network.host(address('192.0.2.2')), own)
  await host.listen({ host: '::', port: 1791, onRefused: () => {} })
  const lines: string[] = []
  const options = { listen: { host: '::', port: 179 }, ...fresh }
  const recorder = new Recorder(host, options, 1, (line) => lines.push(JSON.stringify(line)))
  const speaker = new Speaker(options, recorder, (message) => recorder.tell(message))
  await speaker.start()
  const awaited = (port: number): Neighbor =>
    neighborOf(64_512, 64_513, '192.0.2.2', { passive: true, listenPort: port })
  for (const port of [1791, 1790]) {
    recorder.hear({ type: 'configure', neighbors: [awaited(port)] }, (heard) => speaker.handle(heard))
    await network.advance(0.1)
  }
  agreeable()(peer.dial(1790))
  await network.advance(5)
  const outcome = await replay(lines.join('\n'))
  assert.equal(outcome.difference, undefined)
  assert.ok(outcome.outputs > 5)
})

test("a port that is wanted, not wanted and wanted again in one moment is open once and is nobody's when it goes", async () => {
  const { network, node, configure, reached, problems } = await stage(179)
  for (const times of [1, 2, 7]) {
    for (let time = 0; time < times; time++) {
      void configure(1790)
      void configure(undefined)
    }
    await configure(1790)
    assert.deepEqual(await reached(1790), [[1790], []], `${times} times`)
    assert.deepEqual(problems(), [])
    void configure(1791)
    void configure(1790)
    await configure(undefined, undefined)
    assert.deepEqual(await reached(1790, 1791), [[], []])
  }
  void configure(1790)
  node.speaker.handle({ type: 'stop', mode: 'shutdown', text: '' })
  await network.advance(5)
  assert.deepEqual(await reached(179, 1790), [[], []])
})

test('a speaker that is stopped while it opens its port leaves it closed', async () => {
  const network = new InMemoryNetwork()
  const host = network.host(own)
  let open: () => void = () => {}
  const isOpen = new Promise<void>((resolve) => (open = resolve))
  const listen = host.listen.bind(host)
  host.listen = async (options) => {
    const listener = await listen(options)
    await isOpen
    return listener
  }
  const node = new Recorded({ host: '::', port: 179 }, fresh, host)
  const starting = node.speaker.start()
  node.speaker.handle({ type: 'stop', mode: 'shutdown', text: '' })
  await network.advance(1)
  open()
  await starting
  await network.advance(1)
  const later = await host.listen({ host: '::', port: 179, onRefused: () => {} })
  await later.close()
})
