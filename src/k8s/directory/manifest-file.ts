/**
 * One file of the folder: what was read of it last, and the reading itself. Bytes are decoded by their byte order mark,
 * else as UTF-8; nothing but a regular file is opened, and no more of it is read than the limit.
 */
import { isUtf8 } from 'node:buffer'
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import type { ProblemCode } from '../../desired/codes.ts'
import type { Problem } from '../../desired/model.ts'
import type { ManifestRecord } from './manifest-record.ts'

/** 100 000 small Services. */
export const maxFileBytes = 32 * 1024 * 1024

export class ManifestFile {
  /** Relative to the folder. */
  readonly name: string
  /** Of the file as it was read last; '' when it has to be read whatever it says. */
  stamp = ''
  digest = -1
  /** When its content was seen to have changed; monotonic ms. */
  changedAt = 0
  isGone = false
  /** The last line has no end: the file may be cut in it. */
  isCut = false
  /** It cannot be read, or a document of it: nobody can tell what was deleted, also where it was empty before. */
  isBroken = false
  records: readonly ManifestRecord[] = []
  problems: readonly Problem[] = []

  constructor(name: string) {
    this.name = name
  }
}

export interface FileFault {
  readonly code: ProblemCode
  readonly message: string
  readonly remedy: string
  readonly line?: number
  readonly column?: number
}

export function isFault(read: Buffer | string | FileFault): read is FileFault {
  return typeof read === 'object' && 'code' in read
}

/** Throws what the system says. Links are followed; a device or FIFO that took the place of a file does not block. */
export function readBytes(path: string): Buffer | FileFault {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  try {
    const stat = fstatSync(fd)
    const fault = faultOfType(stat)
    if (fault !== undefined) return fault
    // One more than it had: a file that grows is read again anyway.
    const bytes = Buffer.allocUnsafe(Math.min(stat.size, maxFileBytes) + 1)
    let length = 0
    for (;;) {
      const count = readSync(fd, bytes, length, bytes.length - length, null)
      length += count
      if (count === 0 || length === bytes.length) return bytes.subarray(0, length)
    }
  } finally {
    closeSync(fd)
  }
}

interface FileType {
  readonly size: number
  isFile(): boolean
  isDirectory(): boolean
  isFIFO(): boolean
  isSocket(): boolean
}

/** What a path that is named like a manifest must not be. */
export function faultOfType(stat: FileType): FileFault | undefined {
  if (stat.isFile()) {
    if (stat.size <= maxFileBytes) return undefined
    const message = `it is longer than ${maxFileBytes / 1024 / 1024} MiB`
    return { code: 'LimitExceeded', message, remedy: 'Split it; what was read of it last stays in force.' }
  }
  const what = stat.isDirectory() ? 'a folder' : stat.isFIFO() ? 'a FIFO' : stat.isSocket() ? 'a socket' : 'a device'
  return { code: 'Unreadable', message: `it is ${what}, not a file`, remedy: 'Give it another name, or remove it.' }
}

/** Text without its byte order mark, or where it stops being text. */
export function decode(bytes: Buffer): string | FileFault {
  if (bytes.length >= 2 && bytes[0] === 0xff && bytes[1] === 0xfe) return decodeUtf16(bytes.subarray(2))
  if (bytes.length >= 2 && bytes[0] === 0xfe && bytes[1] === 0xff) {
    const body = bytes.subarray(2)
    return body.length % 2 === 0 ? decodeUtf16(Buffer.from(body).swap16()) : halfACharacter(body.toString('latin1'))
  }
  const body = bytes.length >= 3 && bytes.readUIntBE(0, 3) === 0xefbbbf ? bytes.subarray(3) : bytes
  if (isUtf8(body)) {
    const text = body.toString('utf8')
    const nul = text.indexOf('\0')
    if (nul < 0) return text
    return encodingFault(text.slice(0, nul), 'a NUL character stands here (UTF-16 without its byte order mark?)')
  }
  const good = body.toString('latin1', 0, wrongByte(body))
  return encodingFault(good, `byte 0x${(body[good.length] ?? 0).toString(16)} is not UTF-8`)
}

function decodeUtf16(body: Buffer): string | FileFault {
  const text = body.toString('utf16le')
  if (body.length % 2 !== 0) return halfACharacter(text)
  return text.isWellFormed() ? text : encodingFault(text.slice(0, text.toWellFormed().indexOf('\ufffd')), 'no UTF-16')
}

function halfACharacter(text: string): FileFault {
  return encodingFault(text, 'the file ends within a character of UTF-16')
}

/** Offset of the first byte that belongs to no character: there the decoder puts U+FFFD that was not written. */
function wrongByte(bytes: Buffer): number {
  const text = bytes.toString('utf8')
  let offset = 0
  let from = 0
  for (let at = text.indexOf('\ufffd'); at >= 0; at = text.indexOf('\ufffd', from)) {
    offset += Buffer.byteLength(text.slice(from, at))
    if (bytes.toString('latin1', offset, offset + 3) !== '\xef\xbf\xbd') return offset
    offset += 3
    from = at + 1
  }
  return 0
}

function encodingFault(before: string, message: string): FileFault {
  const lines = before.split('\n')
  return {
    code: 'InvalidEncoding',
    message,
    remedy: 'Save it as UTF-8; what was read of it last stays in force.',
    line: lines.length,
    column: Buffer.from(lines.at(-1) ?? '', 'latin1').toString('utf8').length + 1,
  }
}
