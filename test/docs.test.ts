/** The documentation and the program name the same things, both ways. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { Command } from 'commander'
import { parse } from 'yaml'
import { laterVerbs } from '../src/cli/later-verbs.ts'
import { createProgram } from '../src/cli/program.ts'
import { descendants } from '../src/cli/usage.ts'
import { mapShapes, schema } from '../src/datapath/layout.ts'
import { reasonNames, reasonTable } from '../src/datapath/reasons.ts'
import { socketSchema } from '../src/datapath/socket-layout.ts'
import { errorTable } from '../src/errors.ts'
import { createMetrics } from '../src/observe/metrics.ts'
import { createOperatorMetrics } from '../src/observe/operator-metrics.ts'
import { maxServicesWithSeries } from '../src/observe/metrics/services.ts'
import { ledStatus, memoryViews } from './api/memory-views.ts'
import { jsonPage } from './json-page.ts'
import { parseExposition } from './observe/exposition.ts'

const page = (name: string): string => readFileSync(new URL(`../docs/${name}.md`, import.meta.url), 'utf8')

/** Text below each heading of level two, by heading. */
const sections = (text: string): ReadonlyMap<string, string> =>
  new Map(
    text
      .split(/^## /m)
      .slice(1)
      .map((section) => [section.slice(0, section.indexOf('\n')), section.slice(section.indexOf('\n'))]),
  )

/** The cells of every table row, without header and rule. */
const rows = (text: string): string[][] =>
  [...text.matchAll(/^\| (?!---)(.*?) ?\|$/gm)]
    .map((match) => (match[1] ?? '').split(/ ?\| ?/))
    .filter(([first]) => first?.startsWith('`') === true)

test('docs/errors.md documents exactly the codes of the error table, with their hints', () => {
  const found = [...page('errors').matchAll(/^\| `(ERR_[A-Z_]+)` \| (.+) \|$/gm)].map(([, code, hint]) => [code, hint])
  assert.deepEqual(found, Object.entries(errorTable))
})

test('what the pages name of maps in the kernel is of the schema in force: folders, and octets of an example', () => {
  const folders = [...page('operate').matchAll(/\/herald\/((?:sockets-)?v)(\d+)/g)].map(([, kind, n]) => `${kind}${n}`)
  assert.deepEqual([...new Set(folders)].sort(), [`sockets-v${socketSchema}`, `v${schema}`])
  const shown = [...page('cli').matchAll(/^(\w+) +v(\d+) +\w+ +(\d+) +(\d+) +[\d-]+ +\d+ +\d+ KiB$/gm)]
  assert.ok(shown.length > 2)
  for (const [row, name = '', ...numbers] of shown) {
    const shape = Object.entries(mapShapes).find(([each]) => each === name)?.[1]
    assert.deepEqual(numbers.map(Number), [schema, shape?.keyBytes, shape?.valueBytes], row)
  }
})

const fullName = (command: Command): string =>
  command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`

function flagRows(command: Command): string[][] {
  return command.options.map(({ flags, defaultValue, defaultValueDescription, description, argChoices, envVar }) => {
    const fallback: unknown = defaultValueDescription ?? defaultValue
    return [
      `\`${flags}\``,
      fallback === undefined ? '' : `\`${String(fallback)}\``,
      `${description}${argChoices === undefined ? '' : `: ${argChoices.join(', ')}`}${envVar === undefined ? '' : ` (env \`${envVar}\`)`}`,
    ]
  })
}

test('docs/cli.md has one section per verb with exactly its flags, defaults and an example', () => {
  const found = sections(page('cli'))
  const later = new Set<string>(laterVerbs.map((verb) => `herald ${verb}`))
  const verbs = descendants(createProgram()).filter(
    (command) => command.commands.length === 0 && !later.has(fullName(command)),
  )
  assert.deepEqual([...found.keys()].filter((name) => name.startsWith('herald ')).sort(), verbs.map(fullName).sort())
  const shared = rows(found.get('Flags of reading verbs') ?? '')
  for (const verb of verbs) {
    const section = found.get(fullName(verb)) ?? ''
    const documented = [...(/[Tt]akes the flags of reading verbs/.test(section) ? shared : []), ...rows(section)]
    assert.deepEqual(documented, flagRows(verb), fullName(verb))
    assert.match(section, /^\$ .*herald/m, `${fullName(verb)} has no example`)
  }
})

test('a default that docs/cli.md states is in the help as well', () => {
  // commander shows no description of a default that is undefined.
  const silent = descendants(createProgram())
    .flatMap((command) => command.options)
    .filter(({ defaultValue, defaultValueDescription }) => defaultValue === undefined && defaultValueDescription)
  assert.deepEqual(
    silent.map(({ flags }) => flags),
    [],
  )
})

test('docs/cli.md lists exactly the verbs that this version refuses', () => {
  const listed = [...(sections(page('cli')).get('Not in this version') ?? '').matchAll(/`([a-z ]+)`/g)].map(
    (match) => match[1],
  )
  assert.deepEqual(listed, [...laterVerbs])
})

test('docs/json.md is what the schemas say, and every key says what it means', () => {
  assert.equal(page('json'), jsonPage(), 'write it anew: node test/json-page.ts > docs/json.md')
  assert.doesNotMatch(page('json'), / \| {2}\|$/m)
})

test('docs/json.md says of each verb that prints JSON what that is', () => {
  const answers = page('json').split('\n## ')[0] ?? ''
  const printing = descendants(createProgram()).filter(({ options }) =>
    options.some(({ long, argChoices = [] }) => long === '--output' && argChoices.some((each) => /json/.test(each))),
  )
  assert.ok(printing.length > 10)
  const short = (verb: string): string => `\`${verb.slice('herald '.length)}`
  const silent = printing
    .map(fullName)
    .filter((verb) => !answers.includes(`\`${verb}`) && !answers.includes(short(verb)))
  assert.deepEqual(silent, [])
})

const operatorFigures = {
  version: '0',
  isLeader: true,
  isSynced: true,
  services: { allocated: 1, waiting: 0, owned: 0 },
  pools: ['ipv4', 'ipv6'].map((family) => ({ pool: 'blue', family, total: 4, used: 1 })),
  problems: { error: 0, warning: 0 },
  notAccepted: 0,
  broken: 0,
  outcomes: { service: { written: 1, stale: 0, gone: 0, owned: 0, limited: 0, refused: 0, failed: 0 } },
  waiting: { service: 0 },
  inFlight: 0,
  unreadableKinds: ['Service'],
  droppedEvents: 0,
  lostLogLines: 0,
}

test('docs/metrics.md names exactly the families of a scrape, with type, labels and meaning', async () => {
  const families = parseExposition(
    await createMetrics(() => ({
      count: 1,
      errors: 0,
      lastMs: 1,
      lostLogLines: 0,
      failures: new Map([['attach', 1]]),
    }))({ ...memoryViews(), status: () => Promise.resolve(ledStatus) }),
  )
  const scraped = [...families.values()].map(({ name, type, help, samples }) => [
    `\`${name}\``,
    type,
    [...new Set(samples.flatMap(({ labels }) => Object.keys(labels)))].map((label) => `\`${label}\``).join(', '),
    help,
  ])
  const [ofAgent = ''] = page('metrics').split(/^## The operator$/m)
  const [table = '', rest = ''] = ofAgent.split(/^## Labels$/m)
  assert.deepEqual(rows(table), scraped)
  assert.ok(rest.includes(`the first ${maxServicesWithSeries} by name`))
  for (const reason of reasonNames) assert.ok(rest.includes(`\`${reason}\``), reason)
  const [ofLabels = ''] = rest.split(/^## /m)
  const labels = new Set(
    rows(ofLabels).flatMap(([cell = '']) => [...cell.matchAll(/`(\w+)`/g)].map((match) => match[1])),
  )
  const used = new Set(
    [...families.values()].flatMap(({ samples }) => samples.flatMap((sample) => Object.keys(sample.labels))),
  )
  assert.deepEqual([...labels].sort(), [...used].sort())
})

test('docs/metrics.md names every failure of the node that an agent counts', () => {
  const folder = new URL('../src/agent/', import.meta.url)
  const source = readdirSync(folder)
    .map((name) => readFileSync(new URL(name, folder), 'utf8'))
    .join('\n')
  const raised = [...source.matchAll(/(?:\braise\(|\bconst fault = )'([^']+)'/g)].map(([, what = '']) => what)
  assert.ok(raised.length > 8)
  const [, row = ''] = /^\| `what` \| (.+) \|$/m.exec(page('metrics')) ?? []
  assert.deepEqual(
    raised.filter((what) => !row.includes(`\`${what}\``)),
    [],
  )
})

test('the alerts of docs/metrics.md are those of the chart', () => {
  type Alert = { readonly alert: string; readonly expr: string; readonly for?: string }
  const file = new URL('../charts/herald/files/alerts.yaml', import.meta.url)
  const ofChart = new Map((parse(readFileSync(file, 'utf8')) as readonly Alert[]).map((each) => [each.alert, each]))
  const blocks = [...page('metrics').matchAll(/^```yaml\n(- alert: [\s\S]*?)^```$/gm)]
  const shown = blocks.flatMap(([, text = '']) => parse(text) as readonly Alert[])
  assert.ok(shown.length > 5)
  for (const { alert, expr, for: lasts } of shown)
    assert.deepEqual([expr, lasts], [ofChart.get(alert)?.expr, ofChart.get(alert)?.for], alert)
})

const noFigures = { count: 1, errors: 0, lastMs: 1, lostLogLines: 0, failures: new Map<string, number>() }
const scrapedWith = async (hasAliases: boolean) => ({
  ofAgent: parseExposition(await createMetrics(() => noFigures, hasAliases)(memoryViews())),
  ofOperator: parseExposition(await createOperatorMetrics(hasAliases)(operatorFigures)),
})
const labelsOf = (samples: readonly { readonly labels: object }[]): string =>
  [...new Set(samples.flatMap(({ labels }) => Object.keys(labels)))].map((label) => `\`${label}\``).join(', ')

test("docs/metrics.md names exactly the families under MetalLB's names, with who has them", async () => {
  const { ofAgent, ofOperator } = await scrapedWith(true)
  const rowsOf = [...new Map([...ofAgent, ...ofOperator]).values()]
    .filter(({ name }) => name.startsWith('metallb_'))
    .map(({ name, type, help, samples }) => {
      const who = !ofOperator.has(name) ? 'agent' : ofAgent.has(name) ? 'both' : 'operator'
      return [`\`${name}\``, type, labelsOf(samples), who, help]
    })
  assert.deepEqual(rows(sections(page('metrics')).get("MetalLB's names") ?? ''), rowsOf)
})

test("docs/metrics.md names exactly the families of an operator under Cilium's names", async () => {
  const { ofOperator } = await scrapedWith(true)
  const rowsOf = [...ofOperator.values()]
    .filter(({ name }) => name.startsWith('cilium_'))
    .map(({ name, type, help, samples }) => [`\`${name}\``, type, labelsOf(samples), help])
  assert.ok(rowsOf.length > 0)
  assert.deepEqual(rows(sections(page('metrics')).get("Cilium's names") ?? ''), rowsOf)
})

test('docs/metrics.md says of every name of theirs whether it is here, and what is in its place', async () => {
  const [usual, all] = await Promise.all([scrapedWith(false), scrapedWith(true)])
  const namesOf = ({ ofAgent, ofOperator }: typeof all): ReadonlySet<string> =>
    new Set([...ofAgent.keys(), ...ofOperator.keys()])
  const [always, asked] = [namesOf(usual), namesOf(all)]
  const table = rows(sections(page('metrics')).get('Their names, one by one') ?? '')
  for (const [cell = '', here, instead = ''] of table) {
    const name = cell.replaceAll('`', '')
    assert.equal(here, always.has(name) ? 'always' : asked.has(name) ? 'asked for' : 'no', name)
    assert.equal(instead === '', here !== 'no', name)
    for (const [, other = ''] of instead.matchAll(/`(\w+)`/g)) assert.ok(asked.has(other), `${name}: ${other}`)
  }
  const listed = table.map(([cell = '']) => cell.replaceAll('`', ''))
  assert.equal(new Set(listed).size, listed.length)
  const theirs = [...asked].filter((name) => /^(metallb|cilium)_/.test(name))
  assert.deepEqual(
    theirs.filter((name) => !listed.includes(name)),
    [],
  )
  // Per kind of message, of frames and of BFD: what each of them counts, in whatever mode.
  for (const [part, least] of [
    ['metallb_bgp_', 13],
    ['metallb_bfd_', 8],
    ['metallb_layer2_', 3],
    ['metallb_k8s_client_', 4],
    ['metallb_allocator_', 7],
    ['cilium_bgp_control_plane_', 5],
    ['cilium_operator_', 7],
  ] as const)
    assert.ok(listed.filter((name) => name.startsWith(part)).length >= least, part)
})

test('docs/operate.md has a row for each reason of the kernel, with what becomes of a packet and what to do', () => {
  const section = sections(page('operate')).get('Packets that the kernel answers or drops') ?? ''
  assert.deepEqual(
    rows(section),
    reasonNames.map((name) => {
      const { fate, meaning, remedy } = reasonTable[name]
      return [`\`${name}\``, fate, meaning, remedy]
    }),
  )
})

test('docs/metrics.md names exactly the families of an operator, with type, labels and their values', async () => {
  const families = parseExposition(await createOperatorMetrics()(operatorFigures))
  const scraped = [...families.values()].map(({ name, type, help, samples }) => [
    `\`${name}\``,
    type,
    [...new Set(samples.flatMap(({ labels }) => Object.keys(labels)))].map((label) => `\`${label}\``).join(', '),
    help,
  ])
  const [, text = ''] = page('metrics').split(/^## The operator$/m)
  const [table = '', labels = ''] = text.split(/^(?=\| label \| values \|$)/m)
  assert.deepEqual(rows(table), scraped)
  const documented = new Map(rows(labels).map(([names = '', values = '']) => [names, values]))
  const used = new Set(
    [...families.values()].flatMap(({ samples }) => samples.flatMap((each) => Object.keys(each.labels))),
  )
  for (const label of used)
    assert.ok(
      [...documented.keys()].some((names) => names.includes(`\`${label}\``)),
      `${label} is not explained`,
    )
  for (const { labels: found } of families.get('herald_operator_writes_total')?.samples ?? [])
    assert.ok(documented.get('`outcome`')?.includes(`\`${String(found['outcome'])}\``), String(found['outcome']))
})

test('each line of CHANGELOG.md stands once, below an area', () => {
  const changelog = readFileSync(new URL('../CHANGELOG.md', import.meta.url), 'utf8')
  const [, ...areas] = changelog.split(/^### /m)
  const lines = areas.flatMap((area) => area.split('\n').filter((line) => line.startsWith('- ')))
  assert.equal(changelog.match(/^- /gm)?.length, lines.length)
  assert.deepEqual(
    lines.filter((line, index) => lines.indexOf(line) !== index),
    [],
  )
})

test('README.md leads to every page of docs/', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const names = readdirSync(new URL('../docs', import.meta.url)).filter((name) => name.endsWith('.md'))
  assert.deepEqual(
    names.filter((name) => !readme.includes(`](docs/${name})`)),
    [],
  )
})

test('every link from one page to another leads to a page, and to a heading of it', () => {
  const root = new URL('../', import.meta.url)
  const pages = [
    'README.md',
    'ARCHITECTURE.md',
    'CONTRIBUTING.md',
    'CHANGELOG.md',
    'charts/herald/README.md',
    ...readdirSync(new URL('docs', root))
      .filter((name) => name.endsWith('.md'))
      .map((name) => `docs/${name}`),
  ]
  const anchors = (text: string): string[] =>
    [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    )
  const dead = pages.flatMap((name) => {
    const here = new URL(name, root)
    const links = [...readFileSync(here, 'utf8').matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map(([, link = '']) => link)
    return links
      .filter((link) => {
        const target = new URL(link, here)
        const anchor = target.hash.slice(1)
        target.hash = ''
        return !existsSync(target) || (anchor !== '' && !anchors(readFileSync(target, 'utf8')).includes(anchor))
      })
      .map((link) => `${name}: ${link}`)
  })
  assert.deepEqual(dead, [])
})
