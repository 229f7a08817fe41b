/** What the log says, and what it never says. The logger writes to stdout, so each test runs it in a process. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { isPrintable } from '../../src/cli/text.ts'

const logger = new URL('../../src/observe/logger.ts', import.meta.url).href

function lines(format: 'json' | 'text', script: string): string {
  const source =
    `import { createLogger } from ${JSON.stringify(logger)}\nconst log = createLogger({ level: ` +
    `'info', format: '${format}' })\n${script}`
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', source], {
    encoding: 'utf8',
    timeout: 60_000,
  })
  assert.deepEqual([status, stderr], [0, ''])
  return stdout
}

const secret = 'hunter2'
const places = [
  `{ password: secret }`,
  `{ peer: { password: secret } }`,
  `{ neighbors: [{ password: secret }, { id: 'a', password: secret }] }`,
  `{ speaker: { neighbors: [{ password: secret }] } }`,
  `{ message: { type: 'configure', neighbors: [{ nested: { deep: [{ password: secret }] } }] } }`,
  `{ authSecret: secret }`,
  `{ a: { b: { authSecret: secret } } }`,
  `{ secret: { data: { password: secret } } }`,
]

test('a password never reaches the log, however deep it lies', () => {
  for (const format of ['json', 'text'] as const) {
    const output = lines(
      format,
      `const secret = '${secret}'\n${places.map((place) => `log.info(${place}, 'event')`).join('\n')}\nlog.child({ password: secret }).info('child')`,
    )
    assert.equal(output.trimEnd().split('\n').length, places.length + 1)
    assert.doesNotMatch(output, new RegExp(secret))
    assert.match(output, /Redacted/)
  }
})

test('logging changes nothing in what is logged', () => {
  const output = lines(
    'json',
    `const neighbor = { password: '${secret}', peers: [{ password: 'x' }] }\nlog.info({ neighbor }, ` +
      `'event')\nprocess.stdout.write(JSON.stringify(neighbor) + '\\n')`,
  )
  assert.equal(output.trimEnd().split('\n')[1], JSON.stringify({ password: secret, peers: [{ password: 'x' }] }))
})

test('a line of JSON has time, level as a word, message and fields; errors keep their code and stack', () => {
  const [event = '', failure = ''] = lines(
    'json',
    `log.warn({ peer: '192.0.2.1' }, 'session lost')\nlog.error({ err: Object.assign(new TypeError('no'), { ` +
      `code: 'ERR_X' }) }, 'failed')`,
  ).split('\n')
  const { time, ...rest } = JSON.parse(event)
  assert.match(time, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
  assert.deepEqual(rest, { level: 'warn', peer: '192.0.2.1', msg: 'session lost' })
  const { err } = JSON.parse(failure)
  assert.deepEqual([err.message, err.code, typeof err.stack], ['no', 'ERR_X', 'string'])
})

test('text has one line per event, and what a peer says in it is escaped', () => {
  const output = lines(
    'text',
    String.raw`log.warn({ peer: '192.0.2.1', reason: 'a b"\u001b[2J\u202e\n\u009b', count: 2 }, 'lost ` +
      String.raw`\u001b[1m\nforged line')`,
  )
  assert.match(output, /^\d\d:\d\d:\d\d\.\d{3} warn {2}lost /)
  assert.equal(output.split('\n').length, 2)
  assert.doesNotMatch(output, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/)
  assert.match(output, / peer=192\.0\.2\.1 reason="a b\\"\\u001b\[2J\\u202e\\n\\u009b" count=2\n$/)
})

test('a line of JSON carries no raw control character either', () => {
  const output = lines('json', String.raw`log.warn({ reason: '\u009b\u202e' }, 'x\u0085')`)
  assert.doesNotMatch(output, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/)
  assert.equal(JSON.parse(output).reason, '\u009b\u202e')
})

test('the log escapes what the command line does, in text and in JSON', () => {
  const marks = [0x1b, 0x7f, 0x9b, 0xad, 0x61c, 0x180e, 0x200b, 0x200f, 0x202e, 0x2066, 0xfeff, 0xfff9, 0xe0041, 0xd800]
  for (const format of ['json', 'text'] as const) {
    const output = lines(format, `log.warn(String.fromCodePoint(...${JSON.stringify(marks)}))`)
    assert.ok(isPrintable(output), format)
    assert.equal(output.match(/\\u/g)?.length, marks.length + 1, format)
  }
})

test('what is below the level is not written', () => {
  assert.equal(lines('json', `log.debug('quiet')`), '')
})
