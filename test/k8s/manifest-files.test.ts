/** Bytes to text, and which files of a folder are input. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { linkSync, mkdirSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { listFolder, maxFolderDepth, type Listing } from '../../src/k8s/directory/listing.ts'
import { decode, isFault, maxFileBytes, readBytes, type FileFault } from '../../src/k8s/directory/manifest-file.ts'
import { inFolder } from './manifests.ts'

function list(folder: string, limits?: Parameters<typeof listFolder>[1]): Listing {
  const steps = listFolder(folder, limits)
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

function faultOf(bytes: Buffer): FileFault {
  const read = decode(bytes)
  assert.ok(isFault(read))
  return read
}

const swapped = (text: string): Buffer => Buffer.from(text, 'utf16le').swap16()

test('text is UTF-8, or UTF-16 of either order by its mark', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      fc.pre(!text.startsWith('\ufeff') && !text.includes('\0'))
      assert.equal(decode(Buffer.from(text)), text)
      assert.equal(decode(Buffer.from(`\ufeff${text}`)), text)
      assert.equal(decode(Buffer.from(`\ufeff${text}`, 'utf16le')), text)
      assert.equal(decode(swapped(`\ufeff${text}`)), text)
    }),
  )
})

test('a byte that is not UTF-8 is refused with its line and column, wherever it stands', () => {
  fc.assert(
    fc.property(
      fc.array(fc.stringMatching(/^[a-zé€😀]*$/u), { maxLength: 8 }),
      fc.constantFrom(0xe9, 0xff, 0x80, 0xc0),
      (lines, byte) => {
        const before = lines.join('\n')
        const { code, line, column, message } = faultOf(
          Buffer.concat([Buffer.from(before), Buffer.from([byte]), Buffer.from('\nmore: text\n')]),
        )
        const last = before.split('\n')
        assert.deepEqual([code, line, column], ['InvalidEncoding', last.length, (last.at(-1)?.length ?? 0) + 1])
        assert.match(message, new RegExp(`0x${byte.toString(16)}`))
      },
    ),
  )
})

test('half a character of UTF-16, a lone surrogate and UTF-16 without its mark are refused', () => {
  assert.match(
    faultOf(Buffer.concat([Buffer.from('\ufeffa\nb', 'utf16le'), Buffer.from([1])])).message,
    /within a character/,
  )
  assert.match(faultOf(Buffer.from([0xfe, 0xff, 0])).message, /within a character/)
  assert.deepEqual(faultOf(Buffer.from([0xff, 0xfe, 0x61, 0, 0x0a, 0, 0, 0xd8, 0x61, 0])).line, 2)
  assert.match(faultOf(Buffer.from('a: 1', 'utf16le')).message, /without its byte order mark/)
})

test('a folder lists its manifests in order, dots and other names left out, links followed to each place once', () =>
  inFolder((folder) => {
    for (const name of ['b', 'a', 'team', '.hidden']) mkdirSync(join(folder, name))
    for (const name of [
      'b/x.yml',
      'b/Win.YAML',
      'b/old.Yml',
      'a/y.json',
      'a/.z.yaml',
      'z.yaml',
      'notes.md',
      '.hidden/x.yaml',
    ])
      writeFileSync(join(folder, name), '')
    symlinkSync('.', join(folder, 'loop'))
    symlinkSync('..', join(folder, 'a', 'up'))
    symlinkSync('../b', join(folder, 'team', 'b'))
    symlinkSync('z.yaml', join(folder, 'zz.yaml'))
    symlinkSync('nowhere.yaml', join(folder, 'dangling.yaml'))
    linkSync(join(folder, 'z.yaml'), join(folder, 'hard.yaml'))
    const { files, faults, ignored, folders } = list(folder)
    assert.deepEqual([...files.keys()], ['a/y.json', 'b/Win.YAML', 'b/old.Yml', 'b/x.yml', 'hard.yaml', 'z.yaml'])
    assert.deepEqual([...folders.keys()], ['', 'a/', 'b/', 'team/'])
    assert.deepEqual(ignored.toSorted(), ['a/up/', 'loop/', 'notes.md', 'team/b/', 'zz.yaml'])
    assert.equal(faults.size, 0)
  }))

test('a FIFO, a socket, a device and a folder that are named like manifests are refused unopened', () =>
  inFolder(async (folder) => {
    execFileSync('mkfifo', [join(folder, 'fifo.yaml')])
    symlinkSync('/dev/zero', join(folder, 'zero.yaml'))
    mkdirSync(join(folder, 'folder.yaml'))
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(join(folder, 'socket.yaml'), resolve))
    const faults = [...list(folder).files].map(([name, { fault }]) => [name, fault?.message])
    // One that takes the place of a file between listing and reading does not block either.
    for (const name of ['fifo.yaml', 'zero.yaml']) assert.ok(isFault(readBytes(join(folder, name))))
    await new Promise((resolve) => server.close(resolve))
    assert.deepEqual(faults, [
      ['fifo.yaml', 'it is a FIFO, not a file'],
      ['folder.yaml', 'it is a folder, not a file'],
      ['socket.yaml', 'it is a socket, not a file'],
      ['zero.yaml', 'it is a device, not a file'],
    ])
  }))

test('a file that is too long, folders that are too deep and a folder that is not there are named', () =>
  inFolder((folder) => {
    writeFileSync(join(folder, 'long.yaml'), '')
    truncateSync(join(folder, 'long.yaml'), maxFileBytes + 1)
    mkdirSync(join(folder, ...Array.from({ length: maxFolderDepth + 2 }, () => 'd')), { recursive: true })
    const { files, faults } = list(folder)
    assert.match(files.get('long.yaml')?.fault?.message ?? '', /longer than 32 MiB/)
    assert.deepEqual(
      [...faults.values()].map(({ code }) => code),
      ['LimitExceeded'],
    )
    unlinkSync(join(folder, 'long.yaml'))
    const gone = list(join(folder, 'gone'))
    assert.deepEqual([gone.device, gone.faults.get('')?.code], [undefined, 'Unreadable'])
  }))

test('too many files or folders are a fault of the whole, which then says nothing of what is not there', () =>
  inFolder((folder) => {
    for (const name of ['a', 'b', 'c']) {
      mkdirSync(join(folder, name))
      writeFileSync(join(folder, name, 'x.yaml'), '')
    }
    assert.deepEqual([...list(folder, { files: 3, folders: 4 }).faults.keys()], [])
    for (const [limits, message] of [
      [{ files: 2, folders: 4 }, 'the folder holds more than 2 manifests'],
      [{ files: 3, folders: 3 }, 'the folder holds more than 3 folders'],
      [{ files: 9, folders: 1 }, 'the folder holds more than 1 folders'],
    ] as const) {
      const { faults, device, folders } = list(folder, limits)
      assert.deepEqual([faults.get('')?.message, faults.get('')?.code, device], [message, 'LimitExceeded', undefined])
      assert.ok(folders.size <= limits.folders)
    }
  }))
