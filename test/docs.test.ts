/** The documentation and the program name the same things, both ways. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { Command } from 'commander'
import { laterVerbs } from '../src/cli/later-verbs.ts'
import { createProgram, descendants } from '../src/cli/program.ts'
import { errorTable } from '../src/errors.ts'
import { jsonPage } from './json-page.ts'

const page = (name: string): string => readFileSync(new URL(`../docs/${name}.md`, import.meta.url), 'utf8')

/** Text below each heading of level two, by heading. */
const sections = (text: string): ReadonlyMap<string, string> => new Map(text.split(/^## /m).slice(1).map((section) => [section.slice(0, section.indexOf('\n')), section.slice(section.indexOf('\n'))]))

/** The cells of every table row, without header and rule. */
const rows = (text: string): string[][] => [...text.matchAll(/^\| (?!---)(.*?) ?\|$/gm)].map((match) => (match[1] ?? '').split(/ ?\| ?/)).filter(([first]) => first?.startsWith('`') === true)

test('docs/errors.md documents exactly the codes of the error table, with their hints', () => {
  const found = [...page('errors').matchAll(/^\| `(ERR_[A-Z_]+)` \| (.+) \|$/gm)].map(([, code, hint]) => [code, hint])
  assert.deepEqual(found, Object.entries(errorTable))
})

const fullName = (command: Command): string => (command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`)

function flagRows(command: Command): string[][] {
  return command.options.map(({ flags, defaultValue, defaultValueDescription, description, argChoices, envVar }) => {
    const fallback: unknown = defaultValueDescription ?? defaultValue
    return [`\`${flags}\``, fallback === undefined ? '' : `\`${String(fallback)}\``, `${description}${argChoices === undefined ? '' : `: ${argChoices.join(', ')}`}${envVar === undefined ? '' : ` (env \`${envVar}\`)`}`]
  })
}

test('docs/cli.md has one section per verb with exactly its flags, defaults and an example', () => {
  const found = sections(page('cli'))
  const later = new Set<string>(laterVerbs.map((verb) => `herald ${verb}`))
  const verbs = descendants(createProgram()).filter((command) => command.commands.length === 0 && !later.has(fullName(command)))
  assert.deepEqual([...found.keys()].filter((name) => name.startsWith('herald ')).sort(), verbs.map(fullName).sort())
  const shared = rows(found.get('Flags of reading verbs') ?? '')
  for (const verb of verbs) {
    const section = found.get(fullName(verb)) ?? ''
    const documented = [...(/[Tt]akes the flags of reading verbs/.test(section) ? shared : []), ...rows(section)]
    assert.deepEqual(documented, flagRows(verb), fullName(verb))
    assert.match(section, /^\$ .*herald/m, `${fullName(verb)} has no example`)
  }
})

test('docs/cli.md lists exactly the verbs that this version refuses', () => {
  const listed = [...(sections(page('cli')).get('Not in this version') ?? '').matchAll(/`([a-z ]+)`/g)].map((match) => match[1])
  assert.deepEqual(listed, [...laterVerbs])
})

test('docs/json.md is what the schemas say, and every key says what it means', () => {
  assert.equal(page('json'), jsonPage(), 'write it anew: node test/json-page.ts > docs/json.md')
  assert.doesNotMatch(page('json'), / \|  \|$/m)
})
