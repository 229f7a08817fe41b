/**
 * Entry of the speaker's thread: wires a {@link Speaker} to its port, on request through a recorder. An error that
 * nobody handles ends the thread, and with it the process: a speaker in an unknown state must not go on announcing.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { HeraldError } from '../errors.ts'
import { collectGarbage } from '../sys/heap.ts'
import type { Posted } from './packed-routes.ts'
import { openRecordingFile } from './recording/file.ts'
import { Recorder } from './recording/record.ts'
import { Inbox } from './inbox.ts'
import { rehearse, rehearseSockets } from './rehearsal.ts'
import { systemWith } from './session/system.ts'
import type { FromSpeaker, SharedMemory, SpeakerOptions } from './protocol.ts'
import { Speaker } from './speaker.ts'

if (parentPort === null) throw new HeraldError('ERR_USAGE', 'the speaker runs in a worker thread only')
const port = parentPort
const shared: Required<SharedMemory> = workerData
const system = systemWith(shared.bfd)

/** The first message is its options; what follows waits until the speaker listens. */
function hear(): { readonly options: Promise<SpeakerOptions>; take(handle: (message: Posted) => void): void } {
  const { promise: options, resolve } = Promise.withResolvers<SpeakerOptions>()
  const waiting: Posted[] = []
  let handle = (message: Posted): void => void waiting.push(message)
  port.once('message', (first: SpeakerOptions) => {
    port.on('message', (message: Posted) => handle(message))
    resolve(first)
  })
  return {
    options,
    take: (handler) => {
      handle = handler
      for (const message of waiting) handler(message)
    },
  }
}

interface Recording {
  readonly recorder: Recorder
  end(): Promise<void>
}

function openRecording(path: string, options: SpeakerOptions): Recording {
  const file = openRecordingFile(path, (message) =>
    port.postMessage({ type: 'problems', about: 'recording', texts: [message] } satisfies FromSpeaker),
  )
  const seed = Math.floor(Math.random() * 2 ** 32)
  return { recorder: new Recorder(system, options, seed, (line) => file.write(line)), end: () => file.end() }
}

async function start(): Promise<void> {
  const { options: given, take } = hear()
  await rehearse()
  await rehearseSockets(system)
  collectGarbage()
  const { record, ...options } = await given
  const recording = record === undefined ? undefined : openRecording(record, options)
  const recorder = recording?.recorder
  const emit = (message: FromSpeaker): void => {
    recorder?.tell(message)
    port.postMessage(message)
    if (message.type === 'stopped') void Promise.resolve(recording?.end()).then(() => port.close())
  }
  const speaker = new Speaker(options, recorder ?? system, emit, shared)
  await speaker.start()
  const inbox = new Inbox(system, (message) => {
    if (recorder === undefined) speaker.handle(message)
    else recorder.hear(message, (heard) => speaker.handle(heard))
  })
  take((message) => inbox.take(message))
}

void start()
