/**
 * Entry of the speaker's thread: wires a {@link Speaker} to its port. An error that nobody handles ends the thread,
 * and with it the process: a speaker in an unknown state must not go on announcing.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { HeraldError } from '../../errors.ts'
import type { FromSpeaker, SpeakerOptions, ToSpeaker } from './protocol.ts'
import { system } from '../session/system.ts'
import { Speaker } from './speaker.ts'

if (parentPort === null) throw new HeraldError('ERR_USAGE', 'the speaker runs in a worker thread only')
const port = parentPort
const options: SpeakerOptions = workerData
const speaker = new Speaker(options, system, (message: FromSpeaker) => {
  port.postMessage(message)
  if (message.type === 'stopped') port.close()
})
await speaker.start()
port.on('message', (message: ToSpeaker) => speaker.handle(message))
