/**
 * An error of the log costs lines, never the process. Each test runs the logger in a process whose stdout is broken.
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { waitFor } from '../wait.ts'

const logger = new URL('../../src/observe/logger.ts', import.meta.url).href
const folder = mkdtempSync(join(tmpdir(), 'herald-log-'))
after(() => rmSync(folder, { recursive: true }))

const source = (script: string): string =>
  `import { createLogger, LogOutput } from ${JSON.stringify(logger)}
const output = new LogOutput()
const log = createLogger({ level: 'info', format: 'json' }, output)
const say = (what) => process.stderr.write(what + '\\n')
${script}`

const node = (script: string): [string, string[]] => [process.execPath, ['--input-type=module', '-e', source(script)]]

test('a full disk from the first line on: the process lives, counts what is lost and says why', () => {
  const full = openSync('/dev/full', 'w')
  const script = `for (let i = 0; i < 2_000; i++) log.info({ i }, 'x'.repeat(100))
say(JSON.stringify([output.lostLines > 1_000, output.problem()]))`
  const [command, words] = node(script)
  const { status, stderr } = spawnSync(command, words, { stdio: ['ignore', full, 'pipe'], encoding: 'utf8' })
  closeSync(full)
  assert.equal(status, 0)
  assert.match(stderr, /^\[true,"ENOSPC: /)
})

test('when there is room again what waited is written, and how much was lost is said once', async () => {
  // A file of limited size stands for the disk: the soft limit is raised when the test says so.
  const file = join(folder, 'log')
  const script = `process.on('SIGXFSZ', () => {})
for (let i = 0; i < 3_000; i++) log.info({ i }, 'x'.repeat(100))
say('full ' + output.lostLines + ' ' + output.problem())
process.stdin.once('data', () => {
  log.info('after')
  log.info('later')
  say('done ' + output.lostLines + ' ' + output.problem())
  process.exit(0)
})`
  const [command, words] = node(script)
  const out = openSync(file, 'a')
  const child = spawn('prlimit', ['--fsize=100000:unlimited', command, ...words], { stdio: ['pipe', out, 'pipe'] })
  after(() => child.kill('SIGKILL'))
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  await waitFor('the limit', () => /^full [1-9]\d* EFBIG/m.test(said))
  spawnSync('prlimit', ['--pid', String(child.pid), '--fsize=unlimited'])
  child.stdin?.write('go')
  await waitFor('the end', () => child.exitCode !== null)
  closeSync(out)
  const lost = Number(/^done (\d+) undefined$/m.exec(said)?.[1])
  const lines = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.ok(lost > 0)
  assert.deepEqual(
    lines.filter(({ lost: told }) => told !== undefined).map(({ lost: told }) => told),
    [lost],
  )
  assert.deepEqual(
    lines.flatMap(({ i }) => (i === undefined ? [] : [i])),
    Array.from({ length: 3_000 - lost }, (_, i) => i),
    'what is written has no gap before the first line that is lost',
  )
  assert.equal(lines.at(-1)?.msg, 'later')
})

test('a reader that is gone costs lines only', () => {
  writeFileSync(
    join(folder, 'closed.sh'),
    `"$@" | true
exit \${PIPESTATUS[0]}`,
  )
  const [command, words] = node(`setTimeout(() => {
  for (let i = 0; i < 2_000; i++) log.info('x'.repeat(100))
  say(JSON.stringify([output.lostLines > 1_000, output.problem()]))
}, 200)`)
  const { status, stderr } = spawnSync('bash', [join(folder, 'closed.sh'), command, ...words], { encoding: 'utf8' })
  assert.equal(status, 0)
  assert.match(stderr, /^\[true,"EPIPE: /)
})

test('a closed stdout costs no wait', () => {
  const [command, words] = node(`log.info('x')
say('lives')`)
  const { status, stderr } = spawnSync('sh', ['-c', 'exec "$@" >&-', 'sh', command, ...words], { encoding: 'utf8' })
  assert.deepEqual([status, stderr], [0, 'lives\n'])
})

for (const [what, shell] of [
  ['a pipe', '"$@" | { read -r _ <&3; cat; }'],
  // As systemd connects stdout to its journal.
  ['a socket', 'exec "$@"'],
] as const)
  test(`a reader of ${what} that reads nothing for now costs no wait, and gets whole lines later`, async () => {
    const [command, words] = node(`for (let i = 0; i < 20_000; i++) log.info({ i }, 'x'.repeat(100))
say('lives ' + output.problem())
process.stdin.once('data', () => {
  let isSaid = false
  setInterval(() => {
    if (output.problem() !== undefined) return
    if (!isSaid) return void (log.info('later'), (isSaid = true))
    say('done ' + output.lostLines + ' ' + output.problem())
    process.exit(0)
  }, 20)
})`)
    const child = spawn('bash', ['-c', shell, 'bash', command, ...words], { stdio: ['pipe', 'pipe', 'pipe', 'pipe'] })
    after(() => child.kill('SIGKILL'))
    let said = ''
    let read = ''
    child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))
    await waitFor('its word, with nobody reading', () => /^lives EAGAIN/m.test(said))
    child.stdout?.on('data', (chunk: Buffer) => (read += chunk.toString()))
    if (what === 'a pipe') (child.stdio[3] as NodeJS.WritableStream).write('go\n')
    child.stdin?.write('go\n')
    await waitFor('the end', () => /^done/m.test(said) && read.includes('later'))
    const lost = Number(/^done (\d+) undefined$/m.exec(said)?.[1])
    const lines = read
      .trimEnd()
      .split('\n')
      .map((line): { i?: number; lost?: number } => JSON.parse(line))
    const numbers = lines.flatMap(({ i }) => (i === undefined ? [] : [i]))
    assert.deepEqual(
      numbers,
      numbers.map((_, at) => at),
    )
    assert.ok(lost > 0 && numbers.length + lost >= 20_000, `${numbers.length} written, ${lost} lost`)
  })
