/** Every verb and every flag that there is, asked the same questions: help, wrong words, completion. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { Command, Option } from 'commander'
import { laterVerbs } from '../../src/cli/later-verbs.ts'
import { createProgram } from '../../src/cli/program.ts'
import { descendants } from '../../src/cli/usage.ts'
import { CommandLine } from './in-worker.ts'

const folder = mkdtempSync(join(tmpdir(), 'herald-verbs-'))
const nowhere = join(folder, 'none.sock')
let line: CommandLine
before(() => {
  line = new CommandLine()
})
after(async () => {
  await line.end()
  rmSync(folder, { recursive: true })
})

const pathOf = (command: Command): readonly string[] =>
  command.parent === null ? [] : [...pathOf(command.parent), command.name()]
const program = createProgram()
const isHidden = (command: Command): boolean => laterVerbs.some((verb) => verb === pathOf(command).join(' '))
const all = descendants(program).filter((command) => !isHidden(command))
/** Those that do something by themselves. */
const verbs = all.filter((command) => command.commands.filter((child) => !isHidden(child)).length === 0)
/** A word for each argument that a verb must have. */
const needed = (command: Command): readonly string[] =>
  command.registeredArguments.flatMap((argument): readonly string[] => {
    if (!argument.required) return []
    const words: Readonly<Record<string, string>> = {
      kind: 'peer',
      shell: 'bash',
      peer: '192.0.2.1',
      name: '192.0.2.1',
    }
    return [words[argument.name()] ?? join(folder, 'none')]
  })
const longOf = ({ long }: Option): string => long ?? ''

test('there is no verb beside those of the contract and of BFD, and each of them is there or said to be of a later version', () => {
  const contract = [
    ...['agent', 'bfd', 'bfd peers', 'bgp', 'bgp peers', 'bgp refresh', 'bgp reset', 'bgp routes', 'completion'],
    ...[
      'connectivity',
      'doctor',
      'drain',
      'explain',
      'lb',
      'lb list',
      'lb maps',
      'lb unload',
      'migrate',
      'observe',
      'operator',
      'replay',
    ],
    ...['status', 'validate', 'version'],
  ]
  const there = [...all.map((command) => pathOf(command).join(' ')), ...laterVerbs]
  assert.deepEqual(there.filter((verb) => !verb.startsWith('connectivity ')).sort(), contract)
})

test('every verb has help that names each of its flags with what it is for, and help is exit 0', async () => {
  for (const command of all) {
    const path = pathOf(command)
    const { code, stdout, stderr } = await line.run(...path, '--help')
    assert.deepEqual([code, stderr], [0, ''], path.join(' '))
    assert.match(stdout, new RegExp(`^Usage: herald ${path.join(' ')}`))
    assert.ok(command.description().length > 10, path.join(' '))
    for (const option of command.options) {
      assert.ok(stdout.includes(longOf(option)), `${path.join(' ')} ${option.flags}`)
      assert.ok(option.description.length > 3 && !/[A-Z]\w*\.$/.test(option.description), option.flags)
    }
  }
})

test('a flag that there is not, a word too many and a flag without its value are exit 2, and nothing on stdout', async () => {
  for (const command of verbs) {
    const path = pathOf(command)
    const words = [...path, ...needed(command)]
    const wrong: (readonly string[])[] = [
      [...words, '--no-such-flag'],
      [...words, '-Z'],
      ...command.options.filter(({ required }) => required).map((option) => [...words, longOf(option)]),
    ]
    if (!command.registeredArguments.some(({ variadic }) => variadic)) wrong.push([...words, 'one', 'word', 'more'])
    if (needed(command).length > 0) wrong.push([...path])
    for (const each of wrong) {
      const { code, stdout, stderr } = await line.run(...each)
      assert.deepEqual([code, stdout], [2, ''], each.join(' '))
      assert.match(stderr, /^herald: /, each.join(' '))
    }
  }
})

test('a flag that takes one of a few words refuses any other, and names them', async () => {
  let tried = 0
  for (const command of verbs)
    for (const option of command.options.filter(({ argChoices }) => argChoices !== undefined))
      for (const wrong of ['nope', '', (option.argChoices?.[0] ?? '').toUpperCase().concat('S')]) {
        const words = [...pathOf(command), ...needed(command), longOf(option), wrong]
        const { code, stdout, stderr } = await line.run(...words)
        assert.deepEqual([code, stdout], [2, ''], words.join(' '))
        for (const choice of option.argChoices ?? [])
          assert.ok(stderr.includes(choice), `${words.join(' ')}: ${stderr}`)
        tried++
      }
  assert.ok(tried >= 30)
})

test('every verb that asks the agent is exit 3 where none is, in every format, and says what to do', async () => {
  const asking = verbs.filter((command) => command.options.some((option) => longOf(option) === '--socket'))
  let tried = 0
  for (const command of asking.filter((each) => each.name() !== 'agent'))
    for (const format of command.options.find((option) => longOf(option) === '--output')?.argChoices ?? []) {
      const words = [...pathOf(command), ...needed(command), '--socket', nowhere, '-o', format]
      const { code, stdout, stderr } = await line.run(...words)
      assert.deepEqual([code, stdout], [3, ''], words.join(' '))
      assert.match(stderr, /^herald: cannot reach the agent at [^\n]+ENOENT[^\n]*\n[^\n]+\n$/, words.join(' '))
      tried++
    }
  assert.ok(tried > 20)
})

/** What may stand in place of the last word. */
async function candidates(
  ...words: readonly string[]
): Promise<{ readonly words: readonly string[]; readonly files: boolean }> {
  const { stdout, code } = await line.run('completion', 'kubectl', '--', ...words)
  assert.equal(code, 0)
  const found = stdout.trimEnd().split('\n')
  const directive = found.pop()
  assert.ok(directive === ':0' || directive === ':4', stdout)
  return { words: found, files: directive === ':0' }
}

test('completion offers below every verb its verbs and flags, and files where files are taken', async () => {
  for (const command of [program, ...all]) {
    const path = pathOf(command)
    const children = command.commands.filter((child) => !isHidden(child)).map((child) => child.name())
    const expected = [...children, ...command.options.map(longOf)]
    const found = await candidates(...path, '')
    for (const word of expected) assert.ok(found.words.includes(word), `${path.join(' ')} ${word}`)
    const takesFiles = command.registeredArguments.some((argument) => argument.name() === 'file')
    assert.equal(found.files, takesFiles, path.join(' '))
    for (const word of expected) {
      const typed = word.slice(0, -1)
      const { words } = await candidates(...path, typed)
      assert.ok(words.includes(word), `${path.join(' ')} ${typed}`)
      assert.ok(
        words.every((each) => each.startsWith(typed)),
        `${path.join(' ')} ${typed}`,
      )
    }
  }
})

test('completion goes past arguments and values of flags, and knows no verb that this version lacks', async () => {
  assert.ok((await candidates('explain', 'service', 'default/web', '--wat')).words.includes('--watch'))
  assert.ok((await candidates('status', '-o', 'json', '--wa')).words.includes('--wait'))
  assert.deepEqual((await candidates('bgp', 'pe')).words, ['peers'])
  assert.deepEqual((await candidates('nothing', 'bg')).words, ['bgp'])
  for (const verb of laterVerbs) {
    const [first = '', second] = verb.split(' ')
    const { words } = await candidates(...(second === undefined ? [''] : [first, '']))
    assert.ok(!words.includes(second ?? first), verb)
  }
})

test('the scripts of the shells know the verbs and flags of every verb', async () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { stdout, code } = await line.run('completion', shell)
    assert.equal(code, 0)
    for (const command of all) {
      const words = [...command.commands.filter((child) => !isHidden(child)).map((child) => child.name())]
      const flags = command.options.map(longOf)
      const path = pathOf(command).join(' ')
      for (const word of [...words, ...flags]) assert.ok(stdout.includes(word), `${shell}: ${path} ${word}`)
    }
  }
})

test('a recording that is none is told apart from one that replays otherwise', async () => {
  const write = (name: string, text: string | Uint8Array): string => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  for (const [what, file, code, said] of [
    ['missing', join(folder, 'none'), 2, /cannot read .*ENOENT/],
    ['a folder', folder, 2, /cannot read .*EISDIR/],
    ['text', write('text', 'hello\n'), 1, /line 1|recording/],
    ['other JSON', write('other', '{"a": 1}\n[]\n7\n'), 1, /line 1|recording/],
    ['octets', write('octets', Uint8Array.of(0, 255, 254, 10, 10, 13)), 1, /line 1|recording/],
    ['a half line', write('half', '{"n": 1, "at"'), 1, /line 1|recording/],
  ] as const)
    for (const format of ['table', 'json']) {
      const { code: found, stdout, stderr } = await line.run('replay', file, '-o', format)
      assert.deepEqual([found, stdout], [code, ''], `${what}: ${stderr}`)
      assert.match(stderr, said, what)
      assert.doesNotMatch(stderr, /TypeError|undefined|\bat .*\.ts:/, what)
    }
})
