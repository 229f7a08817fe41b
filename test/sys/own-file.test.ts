/** What the program writes follows no link that somebody planted. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { RestartMarker } from '../../src/agent/restart-marker.ts'
import { openRecordingFile } from '../../src/speaker/recording/file.ts'
import { lockPath } from '../../src/sys/flock.ts'
import { createOwnFile, readOwnFile, replaceOwnFile, replaceOwnFileLater } from '../../src/sys/own-file.ts'

/** A state directory in which every name is a link to a file outside, or to one that is not there. */
async function withLinks(
  names: readonly string[],
  run: (folder: string, victim: string) => Promise<void> | void,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'herald-own-'))
  try {
    const victim = join(folder, 'victim')
    writeFileSync(victim, 'precious')
    mkdirSync(join(folder, 'state'))
    for (const name of names) symlinkSync('../victim', join(folder, 'state', name))
    symlinkSync('../new-victim', join(folder, 'state', 'dangling'))
    await run(join(folder, 'state'), victim)
    assert.equal(readFileSync(victim, 'utf8'), 'precious')
    assert.equal(existsSync(join(folder, 'new-victim')), false)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('the mark of a restart replaces a planted link and is not read through one', () =>
  withLinks(['sessions', 'sessions.new'], async (folder) => {
    const marker = new RestartMarker(folder)
    assert.equal(marker.isRestart, false)
    marker.set()
    assert.equal(marker.isRestart, true)
    // The very text that counts, but in a file outside.
    renameSync(join(folder, 'sessions'), join(folder, '..', 'elsewhere'))
    symlinkSync('../elsewhere', join(folder, 'sessions'))
    assert.equal(readFileSync(join(folder, 'sessions'), 'utf8'), readOwnFile(join(folder, '..', 'elsewhere')))
    assert.equal(new RestartMarker(folder).isRestart, false)
    await marker.clear()
    assert.equal(new RestartMarker(folder).isRestart, false)
  }))

test('the lock is not made through a link', () =>
  withLinks(['lock'], (folder) => {
    for (const name of ['lock', 'dangling']) assert.throws(() => lockPath(join(folder, name), 'file'), /ELOOP/)
    lockPath(join(folder, 'free'), 'file')()
  }))

test('a recording takes the place of a file, never of a link, and says why there is none', () =>
  withLinks(['record.jsonl'], async (folder) => {
    for (const name of ['record.jsonl', 'dangling']) {
      const problems: string[] = []
      const file = openRecordingFile(join(folder, name), (message) => problems.push(message))
      file.write({ a: 1 })
      await file.end()
      assert.match(problems.join(), /is a link, a folder or a device/)
    }
    for (const round of [1, 2]) {
      const file = openRecordingFile(join(folder, 'fine.jsonl'), assert.fail)
      file.write({ round })
      await file.end()
    }
    assert.equal(readFileSync(join(folder, 'fine.jsonl'), 'utf8'), '{"round":2}\n')
    assert.equal(statSync(join(folder, 'fine.jsonl')).mode & 0o777, 0o600)
  }))

test('a FIFO or a folder in the place of a file is neither waited for nor written to', () =>
  withLinks([], (folder) => {
    execFileSync('mkfifo', [join(folder, 'fifo')])
    mkdirSync(join(folder, 'file.new'))
    assert.equal(readOwnFile(join(folder, 'fifo')), undefined)
    assert.equal(readOwnFile(join(folder, 'file.new')), undefined)
    assert.equal(readOwnFile(join(folder, 'absent')), undefined)
    for (const name of ['fifo', 'file.new']) assert.throws(() => createOwnFile(join(folder, name)), /not written to/)
    replaceOwnFile(join(folder, 'file'), 'text')
    assert.equal(readOwnFile(join(folder, 'file')), 'text')
  }))

test('a disk that takes a part of the text only costs the new text, not the old one', () =>
  withLinks([], async (folder) => {
    const source = new URL('../../src/sys/own-file.ts', import.meta.url).href
    for (const call of ['replaceOwnFile', 'replaceOwnFileLater']) {
      const file = join(folder, call)
      writeFileSync(file, 'old')
      // A limit of the size stands for the disk: write(2) takes what fits, and says how much.
      const script = `import { ${call} } from ${JSON.stringify(source)}
process.on('SIGXFSZ', () => {})
try { await ${call}(${JSON.stringify(file)}, 'x'.repeat(3000)); console.log('written') }
catch ({ code }) { console.log(code) }`
      const { stdout } = spawnSync(
        'prlimit',
        ['--fsize=1000', process.execPath, '--input-type=module', '--eval', script],
        { encoding: 'utf8' },
      )
      assert.deepEqual([stdout, readFileSync(file, 'utf8')], ['EFBIG\n', 'old'], call)
      assert.equal(existsSync(`${file}.new`), false, 'the part that was written takes no room')
    }
  }))

test('a text that is replaced again and again is always a whole one to who reads it', () =>
  withLinks([], async (folder) => {
    const file = join(folder, 'file')
    const texts = ['a'.repeat(70_000), 'b'.repeat(10), '']
    let isOver = false
    const writing = (async () => {
      for (let i = 0; i < 60; i++) await replaceOwnFileLater(file, texts[i % 3] ?? '')
      isOver = true
    })()
    for (let reads = 0; !isOver; reads++) {
      const found = readOwnFile(file)
      assert.ok(found === undefined ? reads < 1_000 : texts.includes(found), found?.slice(0, 20))
      await new Promise(setImmediate)
    }
    await writing
  }))

test('a file that is larger than was asked for is none', () =>
  withLinks([], (folder) => {
    writeFileSync(join(folder, 'file'), '12345')
    assert.deepEqual([readOwnFile(join(folder, 'file'), 5), readOwnFile(join(folder, 'file'), 4)], ['12345', undefined])
  }))
