/**
 * Herald's speaker as a process of its own, for its CPU and memory: ToSpeaker as JSON lines on stdin, peers on demand.
 */
import { createInterface } from 'node:readline'
import { startSpeakerThread } from '../src/speaker/speaker-thread.ts'
import type { ToSpeaker } from '../src/speaker/protocol.ts'
import { keepThreadsSmall } from '../src/sys/heap.ts'

// As the agent does.
keepThreadsSmall()
const speaker = startSpeakerThread(JSON.parse(process.argv[2] ?? '{}'))
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'peers') process.stdout.write(`${JSON.stringify(await speaker.peers())}\n`)
  else speaker.post(JSON.parse(line) as ToSpeaker)
}
await speaker.stop('shutdown', '')
