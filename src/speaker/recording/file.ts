/**
 * Lines into a file, without ever making the speaker wait; when the disk cannot follow, the recording ends and says so.
 */
import { createWriteStream } from 'node:fs'
import { messageOf } from '../../errors.ts'
import { createOwnFile } from '../../sys/own-file.ts'

const maxWaitingBytes = 64 * 1024 * 1024

export interface RecordingFile {
  write(line: object): void
  /** Resolves when everything is in the file. */
  end(): Promise<void>
}

/**
 * Takes the place of a file at `path`, never of a link. `onProblem` is called once, when the recording has to end
 * early.
 */
export function openRecordingFile(path: string, onProblem: (message: string) => void): RecordingFile {
  let hasEnded = false
  const giveUp = (reason: string): void => {
    if (!hasEnded) onProblem(`the recording in ${path} ended: ${reason}`)
    hasEnded = true
  }
  let fd: number
  try {
    fd = createOwnFile(path)
  } catch (error) {
    giveUp(messageOf(error))
    return { write: () => {}, end: async () => {} }
  }
  const stream = createWriteStream(path, { fd })
  stream.on('error', (error) => giveUp(error.message))
  return {
    write: (line) => {
      if (hasEnded) return
      stream.write(`${JSON.stringify(line)}\n`)
      if (stream.writableLength > maxWaitingBytes) giveUp('the disk is too slow')
    },
    end: () => {
      hasEnded = true
      return new Promise((resolve) => {
        if (stream.destroyed) return resolve()
        stream.once('close', resolve)
        stream.end()
      })
    },
  }
}
