/**
 * Entry of the speaker's thread: wires a {@link Speaker} to its port, on request through a recorder. An error that
 * nobody handles ends the thread, and with it the process: a speaker in an unknown state must not go on announcing.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { HeraldError } from '../errors.ts'
import { collectGarbage } from '../sys/heap.ts'
import { openRecordingFile } from './recording/file.ts'
import { Recorder } from './recording/record.ts'
import { rehearse, rehearseSockets } from './rehearsal.ts'
import { system } from './session/system.ts'
import type { FromSpeaker, SharedMemory, SpeakerOptions, ToSpeaker } from './protocol.ts'
import { Speaker } from './speaker.ts'

if (parentPort === null) throw new HeraldError('ERR_USAGE', 'the speaker runs in a worker thread only')
const port = parentPort
const { record, presence, figures, ...options }: SpeakerOptions & Required<SharedMemory> = workerData
const file =
  record === undefined
    ? undefined
    : openRecordingFile(record, (message) =>
        port.postMessage({ type: 'problems', about: 'recording', texts: [message] } satisfies FromSpeaker),
      )
const recorder =
  file === undefined
    ? undefined
    : new Recorder(system, options, Math.floor(Math.random() * 2 ** 32), (line) => file.write(line))

const emit = (message: FromSpeaker): void => {
  recorder?.tell(message)
  port.postMessage(message)
  if (message.type === 'stopped') void Promise.resolve(file?.end()).then(() => port.close())
}
const speaker = new Speaker(options, recorder ?? system, emit, { presence, figures })

async function start(): Promise<void> {
  await rehearse()
  await rehearseSockets(system)
  collectGarbage()
  await speaker.start()
  // What was posted meanwhile waits in the port.
  port.on('message', (message: ToSpeaker) => {
    if (recorder === undefined) speaker.handle(message)
    else recorder.hear(message, (heard) => speaker.handle(heard))
  })
}

void start()
