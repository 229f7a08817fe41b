/**
 * The log for any fields and any text: one line, nothing that a terminal obeys, no secret, and nothing else changed.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isPrintable } from '../../src/cli/text.ts'
import { createLogger, LogOutput } from '../../src/observe/logger.ts'

/** Keeps what would be written. */
class Kept extends LogOutput {
  text = ''

  override write(text: string): number {
    this.text += text
    return 0
  }
}

function written(format: 'json' | 'text', fields: object, message: string): string {
  const output = new Kept()
  createLogger({ level: 'info', format }, output).info(fields, message)
  return output.text
}

const secret = 'hunter2'
const nasty = fc.string({
  unit: fc.constantFrom('a', ' ', '"', '\\', '\n', '\u001b', '\u009b', '\u202e', '\u2028', '\ud800', 'é', '東', '='),
  maxLength: 8,
})
const name = fc.constantFrom('peer', 'reason', 'count', 'a b', 'é', 'x"y')
const value = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    nasty,
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(name, tie('value'), { maxKeys: 3, noNullPrototype: true }),
  ),
})).value
const fields = fc.dictionary(name, value, { maxKeys: 4, noNullPrototype: true })

test('a line is one line in which nothing is raw that a terminal obeys, in either format', () => {
  fc.assert(
    fc.property(fields, nasty, (found, message) => {
      for (const format of ['json', 'text'] as const) {
        const line = written(format, found, message)
        assert.equal(line.indexOf('\n'), line.length - 1)
        assert.ok(isPrintable(line), JSON.stringify(line))
      }
    }),
  )
})

test('JSON says what was logged, value by value', () => {
  fc.assert(
    fc.property(fields, nasty, (found, message) => {
      const { time, level, msg, ...rest } = JSON.parse(written('json', found, message))
      assert.deepEqual([level, typeof time], ['info', 'string'])
      // What no text can hold alone comes back as the mark that stands for it, or as it was.
      const well = (text: unknown): unknown => JSON.parse(JSON.stringify(text).toWellFormed())
      assert.deepEqual(well([rest, msg]), well([found, message]))
    }),
  )
})

/** Puts a value somewhere below others. */
const buried = fc
  .tuple(fc.constantFrom('password', 'authSecret'), fc.array(fc.oneof(name, fc.constant(0)), { maxLength: 5 }))
  .map(([key, path]) =>
    path.reduce<object>((below, step) => (step === 0 ? [below] : { [step]: below, other: 1 }), { [key]: secret }),
  )

test('a secret is nowhere in a line, whatever it lies in and whatever else is said', () => {
  fc.assert(
    fc.property(fields, buried, nasty, (found, hidden, message) => {
      for (const format of ['json', 'text'] as const) {
        const line = written(format, { ...found, hidden }, message)
        assert.ok(!line.includes(secret) && line.includes('[Redacted]'), line)
      }
      const shown = JSON.parse(written('json', { ...found, hidden }, message))
      assert.deepEqual(Object.keys(shown), ['level', 'time', ...Object.keys({ ...found, hidden }), 'msg'])
    }),
  )
})

test('a secret that is no text, or an object with more in it, is taken out whole', () => {
  for (const password of [1234, [secret], { value: secret }, null, true])
    for (const format of ['json', 'text'] as const) {
      const line = written(format, { neighbor: { password } }, 'event')
      assert.match(line, /"password":"\[Redacted\]"/)
      assert.doesNotMatch(line, /hunter2|1234|true/)
    }
})

test('a field that is named like a secret in part, or a text that speaks of one, stays', () => {
  const line = written('json', { passwords: 2, note: 'the password: is wrong', authSecretRef: 'bgp' }, 'event')
  const { passwords, note, authSecretRef } = JSON.parse(line)
  assert.deepEqual([passwords, note, authSecretRef], [2, 'the password: is wrong', 'bgp'])
})

test('a value that turns on itself, or is a big number, costs no line', () => {
  const turning: Record<string, unknown> = { peer: 'a' }
  turning['self'] = turning
  for (const format of ['json', 'text'] as const) {
    assert.match(written(format, { turning }, 'event'), /\[Circular\]/)
    assert.match(written(format, { total: 2n ** 70n }, 'event'), /total/)
  }
})
