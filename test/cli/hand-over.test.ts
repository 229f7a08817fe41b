import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { withOperatorOptions, withOptions } from '../../src/cli/hand-over.ts'

const koffi = JSON.stringify(createRequire(import.meta.url).resolve('koffi'))
/** malloc_stats(3) writes a paragraph for each arena to stderr. */
const tell = `
  const tell = require(${koffi}).default.load('libc.so.6').func('void malloc_stats()')
  new (require('node:worker_threads').Worker)('', { eval: true }).once('exit', () => tell())`

function arenas(environment: NodeJS.ProcessEnv): number {
  const { stderr } = spawnSync(process.execPath, ['--eval', tell], { encoding: 'utf8', env: environment })
  return stderr.match(/^Arena \d+:$/gm)?.length ?? 0
}

test('the threads of both daemons share one arena of malloc(3), unless a person has it otherwise', () => {
  assert.ok(arenas({}) > 1, 'a thread has one of its own')
  const none = {} as never
  for (const given of [withOptions, withOperatorOptions]) {
    assert.equal(arenas(given({}, none)), 1)
    assert.ok(arenas(given({ MALLOC_ARENA_MAX: '8' }, none)) > 1)
  }
})
