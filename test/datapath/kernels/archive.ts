/** A file system for the memory of a machine, as the kernel takes it: cpio, "newc" (Documentation of initramfs). */
import { closeSync, openSync, readFileSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

export interface Entry {
  /** In the machine, absolute. */
  readonly path: string
  readonly content:
    | { readonly file: string }
    | { readonly text: string }
    | { readonly device: readonly [number, number] }
}

const types = { folder: 0o040755, file: 0o100755, device: 0o020600 } as const
const blank = Buffer.alloc(512)

/** Writes entries and the folders above them into `output`. */
export function writeArchive(output: string, entries: readonly Entry[]): void {
  const archive = openSync(output, 'w')
  let written = 0
  const write = (octets: Uint8Array): void => {
    written += writeSync(archive, octets)
  }
  const put = (
    path: string,
    mode: number,
    octets: Uint8Array,
    more: { timeSec?: number; device?: Device } = {},
  ): void => {
    const name = `${path.slice(1) || '.'}\0`
    const [major, minor] = more.device ?? [0, 0]
    const fields = [0, mode, 0, 0, 1, more.timeSec ?? 0, octets.length, 0, 0, major, minor, name.length, 0]
    write(Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}`, 'latin1'))
    write(blank.subarray(0, -written & 3))
    for (let at = 0; at < octets.length; at += 1 << 24) write(octets.subarray(at, at + (1 << 24)))
    write(blank.subarray(0, -written & 3))
  }
  try {
    for (const folder of foldersOf(entries)) put(folder, types.folder, blank.subarray(0, 0))
    for (const { path, content } of entries) {
      if ('device' in content) put(path, types.device, blank.subarray(0, 0), content)
      else if ('text' in content) put(path, types.file, Buffer.from(content.text))
      else
        put(path, types.file, readFileSync(content.file), {
          timeSec: Math.floor(statSync(content.file).mtimeMs / 1000),
        })
    }
    put('/TRAILER!!!', 0, blank.subarray(0, 0))
    write(blank.subarray(0, -written & 511))
  } finally {
    closeSync(archive)
  }
}

type Device = readonly [number, number]

/** Parents first. */
function foldersOf(entries: readonly Entry[]): readonly string[] {
  const folders = new Set<string>()
  for (const { path } of entries) for (let at = dirname(path); at !== '/'; at = dirname(at)) folders.add(at)
  return [...folders].sort()
}
