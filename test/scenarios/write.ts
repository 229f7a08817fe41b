/**
 * Records the scenarios anew: node test/scenarios/write.ts [NAME ...]. To be run when the speaker is meant to say
 * something else than before; the difference of the files is then part of the review.
 */
import net from 'node:net'
import { writeFileSync } from 'node:fs'
import { Recorder } from '../../src/speaker/recording/record.ts'
import { system } from '../../src/speaker/session/system.ts'
import type { PeerSnapshot, ToSpeaker } from '../../src/speaker/protocol.ts'
import { Speaker } from '../../src/speaker/speaker.ts'
import { waitFor } from '../wait.ts'
import { RawPeer } from '../speaker/session/fixture.ts'
import { type Scenario, scenarios } from './scenarios.ts'

async function record({ name, comment, run }: Scenario): Promise<void> {
  const lines: string[] = []
  const options = { listen: { host: '127.0.0.1', port: 0 }, isRestart: false, isForwardingPreserved: false }
  const recorder = new Recorder(system, options, 1, (line) => lines.push(JSON.stringify(line)))
  let peers: readonly PeerSnapshot[] = []
  let hasStopped = false
  const speaker: Speaker = new Speaker(options, recorder, (message) => {
    recorder.tell(message)
    if (message.type === 'answer') peers = message.peers ?? []
    if (message.type === 'stopped') hasStopped = true
  })
  const hear = (message: ToSpeaker): void => recorder.hear(message, (heard) => speaker.handle(heard))
  await speaker.start()
  await using peer = await RawPeer.listen()
  const port = speaker.port ?? 0
  const snapshot = (): PeerSnapshot => {
    speaker.handle({ type: 'query', id: 0, query: { what: 'peers' } })
    return peers[0] as PeerSnapshot
  }
  const connect = async (): Promise<net.Socket> => {
    const socket = net.connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2', noDelay: true })
    socket.resume()
    await waitFor('the connection', () => !socket.connecting)
    return socket
  }
  await run({ peer, port, hear, snapshot, connect })
  const written = `# ${comment}\n${lines.join('\n')}\n`
  hear({ type: 'stop', mode: 'shutdown', text: '' })
  await waitFor('stopped', () => hasStopped)
  writeFileSync(new URL(`${name}.jsonl`, import.meta.url), written)
  console.log(`${name}: ${lines.length} lines`)
}

const wanted = process.argv.slice(2)
for (const scenario of scenarios) if (wanted.length === 0 || wanted.includes(scenario.name)) await record(scenario)
process.exit(0)
