/** What an agent does at its start with a folder that is there, is not, or of which nobody knows. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { lookAtFolder, type FolderParts } from '../../src/agent/manifests-folder.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { HeraldError } from '../../src/errors.ts'

let folder = ''
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'herald-start-'))
  writeFileSync(join(folder, 'file'), '')
})
after(() => rmSync(folder, { recursive: true }))

/** What a start says of a path, and when nothing of it waits any more. */
async function said(path: string, isRestart: boolean, stat?: FolderParts['stat']): Promise<readonly string[]> {
  const clock = new VirtualClock()
  const log = new MemoryLog()
  const looked = lookAtFolder(path, { isRestart, clock, log, ...(stat === undefined ? {} : { stat }) }).catch(
    (error: unknown) => log.lines.push(error instanceof HeraldError ? `${error.code} ${error.message}` : String(error)),
  )
  // Time passes only for who does not answer: an answer of this machine comes without it.
  if (stat !== undefined) clock.advance(5_100)
  await looked
  assert.equal(clock.pending, 0)
  return log.lines.map((line) => line.replaceAll(folder, 'DIR'))
}

test('a folder is nothing to tell of; what is none is an error of a first start, and awaited by a restart', async () => {
  for (const isRestart of [false, true]) assert.deepEqual(await said(folder, isRestart), [])
  for (const name of ['file', 'absent', 'file/below'])
    assert.deepEqual(
      [await said(join(folder, name), false), await said(join(folder, name), true)],
      [
        [`ERR_MANIFESTS --manifests DIR/${name} is not a folder`],
        [`warn --manifests DIR/${name} is not a folder (yet): what an earlier agent left stays until it is`],
      ],
    )
})

test('a file system that does not answer is waited for five seconds and said, and ends no start', async () => {
  const never: FolderParts['stat'] = () => new Promise(() => {})
  const silent = `warn --manifests DIR: its file system has not answered for 5 s`
  assert.deepEqual(
    [await said(folder, false, never), await said(folder, true, never)],
    [[`${silent}; nothing is announced until it does`], [`${silent}; what an earlier agent left stays until it does`]],
  )
})
