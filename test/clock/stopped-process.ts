/**
 * Asks its speaker again and again and the agent at a socket once, and says when the question to the agent is under
 * way. What came of it all is its last line. node stopped-process.ts SOCKET
 */
import { fetchPeers } from '../../src/api/client.ts'
import { startSpeakerThread } from '../../src/speaker/speaker-thread.ts'

const speaker = startSpeakerThread({ isRestart: false, isForwardingPreserved: false })
await speaker.peers()
let isAnswered = false
const agent = fetchPeers({ socket: process.argv[2] ?? '' }).finally(() => (isAnswered = true))
const failures: string[] = []
let questions = 0
while (!isAnswered) {
  // Several at once: one is under way whenever the process is stopped.
  const asked = await Promise.allSettled(['192.0.2.1/32', '192.0.2.2/32', '192.0.2.3/32'].map(speaker.route, speaker))
  for (const answer of asked) if (answer.status === 'rejected') failures.push(String(answer.reason))
  // Whoever stops it now does so while another three are asked.
  if (questions === 0) console.log('asked')
  questions += asked.length
}
const [answer] = await Promise.allSettled([agent])
if (answer.status === 'rejected') failures.push(String(answer.reason))
await speaker.stop('shutdown', '')
console.log(JSON.stringify({ questions, failures }))
