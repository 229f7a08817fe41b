/** Every command of the project says how it is used: to who asks, and with exit code 2 to what it does not know. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readFlags } from '../../bench/flags.ts'

const root = join(import.meta.dirname, '../..')
const commands: Readonly<Record<string, string>> = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).scripts

interface End {
  readonly code: number | string | null | undefined
  readonly out: string
  readonly err: string
}

/** As npm runs it, without the look at the packages. What does not refuse at once is ended. */
function run(script: string, ...words: readonly string[]): Promise<End> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [script, ...words],
      { cwd: root, timeout: 60_000, killSignal: 'SIGKILL', encoding: 'utf8' },
      (error, out, err) => resolve({ code: error === null ? 0 : error.code, out, err }),
    )
  })
}

const scripts = [
  ...Object.entries(commands).map(([name, line]) => {
    const script = /^node scripts\/start\.mjs (\S+)$/.exec(line)?.[1] ?? assert.fail(`npm run ${name} is ${line}`)
    return [name === 'test' ? 'npm test' : `npm run ${name}`, script] as const
  }),
  ['node scripts/chart.ts', 'scripts/chart.ts'] as const,
  ['node scripts/crds.ts', 'scripts/crds.ts'] as const,
]

for (const [command, script] of scripts)
  test(`${command} says how it is used to who asks, and with exit code 2 and no stack to what it does not know`, async () => {
    const all = [['--help'], ['--no-such-flag'], ['no-such-word']]
    const ends = await Promise.all(all.map((words) => run(script, ...words)))
    for (const [index, { code, out, err }] of ends.entries()) {
      const word = all[index]?.[0] ?? ''
      const isHelp = word === '--help'
      const [text, other] = isHelp ? [out, err] : [err, out]
      const said = `${command} ${word}\n${out}${err}`
      assert.equal(code, isHelp ? 0 : 2, said)
      assert.ok(text.includes(`usage: ${command}`), said)
      assert.doesNotMatch(text, /^ {4}at /m, said)
      assert.equal(other, '', said)
      if (!isHelp) assert.ok(err.split('\n')[0]?.includes(word), said)
    }
  })

test('a benchmark takes no number that is none', () => {
  for (const [words, message] of [
    [['kubernetes', '--services', 'many'], /^--services wants a number from 0 on, not many/],
    [['kubernetes', '--services=-1'], /not -1/],
    [['kubernetes', '--services', '1.5'], /not 1\.5/],
    [['kubernetes', '--services'], /--services/],
    [['survive', '--flows', '0'], /^--flows wants a number from 1 on/],
    [['kubernetes', '--manifests', 'file'], /^--manifests is what --announcer is configured by/],
  ] as const)
    assert.throws(() => readFlags(words), { code: 'ERR_USAGE', message })
  assert.deepEqual(readFlags(['survive', 'killed', '--flows', '500']).rows, ['killed'])
})

test('no name that every object has is a part of the benchmarks', async () => {
  const { code, err } = await run('bench/run.ts', 'constructor', '__proto__')
  assert.equal(code, 2, err)
  assert.match(err, /^there is no part constructor __proto__\nusage: npm run bench/)
})

test('messages that are to be mutated are a number, and not none', async () => {
  for (const words of [['0'], ['-5'], ['1e3'], ['10', 'seed'], ['10', '1', '2']]) {
    const { code, out, err } = await run('scripts/fuzz.ts', ...words)
    assert.equal(code, 2, `${words.join(' ')}: ${out}${err}`)
    assert.equal(out, '')
  }
})
