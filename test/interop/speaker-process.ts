/**
 * The speaker's thread as a process of its own, to be run inside a network namespace: SpeakerOptions as argument,
 * ToSpeaker as JSON lines on stdin, peers, log and answers as JSON lines on stdout.
 */
import { createInterface } from 'node:readline'
import type { ToSpeaker } from '../../src/speaker/protocol.ts'
import { startSpeakerThread } from '../../src/speaker/speaker-thread.ts'

const print = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`)
const thread = startSpeakerThread(JSON.parse(process.argv[2] ?? '{}'))
thread.onPeer((peer, previous) => print({ type: 'peer', peer, previous }))
thread.onLog((line) => print({ type: 'log', ...line }))
thread.onExit((error) => {
  print({ type: 'exit', message: error.message })
  process.exit(1)
})
for await (const line of createInterface({ input: process.stdin })) {
  const message: ToSpeaker = JSON.parse(line)
  if (message.type === 'query') {
    const { id, query } = message
    if (query.what === 'peers') print({ type: 'answer', id, peers: await thread.peers() })
    if (query.what === 'routes')
      print({ type: 'answer', id, ...(await thread.routes(query, Number.POSITIVE_INFINITY)) })
    continue
  }
  if (message.type !== 'stop') {
    thread.post(message)
    continue
  }
  await thread.stop(message.mode, message.text)
  print({ type: 'stopped' })
  process.exit(0)
}
