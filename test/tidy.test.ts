/**
 * The rules of ARCHITECTURE.md as tests: which room may import which, no cycles, no barrels, small files and
 * functions, no `any`, no bare errors, no sleeping tests, and every path that ARCHITECTURE.md names exists.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { exportsOf, functionsOf, importsOf, namesTaken, stripCommentsAndStrings } from './source-text.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const maxFileLines = 500
const maxFunctionLines = 70
const maxColumns = 120

function filesBelow(folder: string, endings: readonly string[]): string[] {
  const base = join(root, folder)
  if (!existsSync(base)) return []
  return readdirSync(base, { recursive: true, encoding: 'utf8' })
    .filter((name) => endings.some((ending) => name.endsWith(ending)) && !name.includes('node_modules'))
    .map((name) => join(folder, name))
    .filter((path) => statSync(join(root, path)).isFile())
    .sort()
}

const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const sources = [...filesBelow('src', ['.ts', '.tsx']), ...filesBelow('lab', ['.ts'])]
const code = [
  ...sources,
  ...filesBelow('test', ['.ts']),
  ...filesBelow('scripts', ['.ts', '.mjs']),
  ...filesBelow('bench', ['.ts']),
]

const bgp = ['src/ip', 'src/errors.ts', 'src/desired', 'src/bgp/messages', 'src/bgp/fsm']

/** The longest matching path decides; a room may import itself, the places inside it, and the rooms listed. */
const layers: Readonly<Record<string, readonly string[]>> = {
  'src/errors.ts': [],
  'src/ip': ['src/errors.ts'],
  'src/desired': ['src/ip'],
  'src/bgp/messages': ['src/ip'],
  'src/bgp/fsm': ['src/ip', 'src/desired', 'src/bgp/messages'],
  'src/policy': ['src/ip', 'src/desired', 'src/bgp/messages'],
  'src/rib': ['src/ip', 'src/desired', 'src/bgp/messages', 'src/policy'],
  'src/allocation': ['src/ip', 'src/errors.ts', 'src/desired'],
  'src/speaker/protocol.ts': ['src/desired', 'src/bgp/fsm'],
  'src/speaker/session': [...bgp, 'src/speaker/protocol.ts', 'src/sys'],
  'src/speaker': [...bgp, 'src/speaker/session', 'src/speaker/protocol.ts', 'src/rib', 'src/policy'],
  'src/speaker/worker.ts': [
    'src/errors.ts',
    'src/speaker',
    'src/speaker/protocol.ts',
    'src/speaker/session',
    'src/speaker/recording',
    'src/sys',
  ],
  'src/speaker/recording': [
    ...bgp,
    'src/speaker/session',
    'src/speaker',
    'src/speaker/protocol.ts',
    'src/sys/own-file.ts',
  ],
  'src/k8s': ['src/ip', 'src/errors.ts', 'src/desired', 'src/clock', 'src/sys'],
  'src/k8s/source.ts': ['src/desired'],
  'src/k8s/lease.ts': [],
  'src/k8s/node-life.ts': ['src/k8s/lease.ts', 'src/k8s/source.ts'],
  'src/k8s/status.ts': ['src/k8s/source.ts'],
  'src/k8s/apiserver': [
    'src/errors.ts',
    'src/desired',
    'src/clock',
    'src/k8s/source.ts',
    'src/k8s/kinds',
    'src/k8s/lease.ts',
    'src/k8s/status.ts',
  ],
  'src/k8s/kinds': ['src/ip', 'src/desired', 'src/k8s/source.ts'],
  'src/k8s/dialects': [
    'src/ip',
    'src/desired',
    'src/k8s/source.ts',
    'src/k8s/status.ts',
    'src/k8s/kinds',
    'src/allocation',
  ],
  'src/k8s/dialects/node-report.ts': ['src/desired', 'src/k8s/source.ts', 'src/k8s/status.ts', 'src/k8s/kinds'],
  'src/k8s/dialects/service-bgp-status.ts': ['src/k8s/source.ts', 'src/k8s/dialects/node-report.ts'],
  'src/k8s/translate': [
    'src/ip',
    'src/errors.ts',
    'src/desired',
    'src/k8s/source.ts',
    'src/k8s/kinds',
    'src/k8s/dialects',
    'src/allocation',
  ],
  'src/reconcile': ['src/ip', 'src/desired', 'src/datapath/datapath.ts'],
  'src/datapath/datapath.ts': ['src/desired'],
  'src/datapath': ['src/ip', 'src/errors.ts', 'src/desired', 'src/reconcile', 'src/sys', 'src/sys/folder.ts'],
  'src/flows': ['src/ip', 'src/errors.ts', 'src/desired', 'src/datapath', 'src/sys', 'src/api'],
  'src/sys': ['src/ip', 'src/errors.ts'],
  'src/sys/own-file.ts': ['src/errors.ts'],
  'src/sys/folder.ts': [],
  'src/observe': ['src/errors.ts', 'src/desired', 'src/api/types.ts'],
  'src/api/types.ts': [],
  'src/api': ['src/errors.ts', 'src/api/types.ts', 'src/sys/folder.ts'],
  'src/agent/options.ts': ['src/errors.ts'],
  'src/agent': [
    'src/ip',
    'src/errors.ts',
    'src/desired',
    'src/reconcile',
    'src/datapath/datapath.ts',
    'src/speaker',
    'src/speaker/protocol.ts',
    'src/k8s',
    'src/k8s/lease.ts',
    'src/k8s/node-life.ts',
    'src/k8s/source.ts',
    'src/k8s/status.ts',
    ...['src/k8s/dialects/node-report.ts', 'src/k8s/dialects/service-bgp-status.ts'],
    'src/k8s/translate',
    'src/allocation',
    'src/api/types.ts',
    'src/observe',
    ...['src/sys', 'src/sys/own-file.ts', 'src/sys/folder.ts'],
    'src/agent/options.ts',
    'src/clock',
  ],
  'src/operator/options.ts': [],
  'src/operator': [
    'src/ip',
    'src/desired',
    'src/clock',
    'src/allocation',
    'src/k8s/lease.ts',
    'src/k8s/source.ts',
    'src/k8s/status.ts',
    'src/k8s/kinds',
    'src/k8s/dialects',
    'src/k8s/dialects/node-report.ts',
    'src/k8s/translate',
    'src/api',
    'src/observe',
  ],
  'src/clock': [],
  'src/main.ts': ['*'],
  'src/operate.ts': ['*'],
  'src/herald.ts': ['src/main.ts', 'src/operate.ts', 'src/cli', 'src/sys'],
  'src/cli': ['src/errors.ts', 'src/api', 'src/api/types.ts', 'src/agent/options.ts', 'src/operator/options.ts'],
  'src/cli/replay.ts': ['src/errors.ts', 'src/speaker/recording', 'src/cli'],
  'src/cli/cluster-reads.ts': [
    ...['src/errors.ts', 'src/cli'],
    ...['src/k8s/apiserver', 'src/k8s/dialects/node-report.ts', 'src/k8s/node-life.ts', 'src/k8s/source.ts'],
  ],
  'src/cli/cluster-explain.ts': [
    ...['src/errors.ts', 'src/ip', 'src/api/types.ts', 'src/cli', 'src/cli/cluster-reads.ts', 'src/cli/cluster.ts'],
    ...['src/k8s', 'src/k8s/apiserver', 'src/k8s/dialects', 'src/k8s/dialects/node-report.ts', 'src/k8s/source.ts'],
  ],
  'src/cli/cluster.ts': [
    ...['src/api/types.ts', 'src/cli', 'src/cli/cluster-reads.ts'],
    ...['src/k8s/apiserver', 'src/k8s/dialects/node-report.ts', 'src/k8s/source.ts'],
  ],
  'src/cli/validate.ts': ['src/desired', 'src/k8s', 'src/cli', 'src/cli/manifests.ts'],
  'src/cli/manifests.ts': ['src/errors.ts', 'src/k8s'],
  'src/cli/migrate.ts': [
    'src/errors.ts',
    'src/k8s',
    'src/k8s/apiserver',
    'src/k8s/dialects',
    'src/cli',
    'src/cli/manifests.ts',
    'src/cli/migrate-values.ts',
  ],
  'src/cli/migrate-values.ts': ['src/errors.ts', 'src/k8s/dialects', 'src/k8s/source.ts', 'src/cli'],
  'src/cli/lb-pins.ts': ['src/errors.ts', 'src/datapath', 'src/api/types.ts', 'src/cli'],
  lab: ['src/errors.ts', 'src/api/types.ts'],
}

/** No clock, socket, environment, randomness or log in these. */
const pure = [
  'src/errors.ts',
  'src/ip',
  'src/desired',
  'src/bgp/messages',
  'src/bgp/fsm',
  'src/speaker/session/connection.ts',
  'src/speaker/session/peer-session.ts',
  'src/speaker/session/dial-options.ts',
  'src/speaker/session/neighbor-effects.ts',
  'src/speaker/session/peer-address.ts',
  'src/speaker/session/in-memory.ts',
  'src/speaker/session/in-memory-transport.ts',
  'src/speaker/session/random.ts',
  'src/speaker/session/session-report.ts',
  'src/speaker/session/transitions.ts',
  'src/speaker/speaker.ts',
  'src/speaker/peer.ts',
  'src/speaker/peers.ts',
  'src/speaker/listeners.ts',
  'src/speaker/importer.ts',
  'src/speaker/stale-routes.ts',
  'src/speaker/update-group.ts',
  'src/speaker/recording/format.ts',
  'src/speaker/recording/replay.ts',
  'src/rib',
  'src/policy',
  'src/k8s/canonical.ts',
  'src/k8s/dialects',
  'src/k8s/kinds',
  'src/k8s/lease.ts',
  'src/k8s/memory-cluster.ts',
  'src/k8s/memory-source.ts',
  'src/k8s/node-life.ts',
  'src/k8s/object-name.ts',
  'src/k8s/object-versions.ts',
  'src/k8s/pieces.ts',
  'src/k8s/scalars.ts',
  'src/k8s/shape.ts',
  'src/k8s/status.ts',
  'src/k8s/translate',
  'src/k8s/yaml.ts',
  'src/allocation/address-book.ts',
  'src/allocation/address-source.ts',
  'src/allocation/allocate.ts',
  'src/allocation/answers.ts',
  'src/allocation/errno.ts',
  'src/allocation/folder-allocator.ts',
  'src/allocation/freed.ts',
  'src/allocation/intervals.ts',
  'src/allocation/memory-book.ts',
  'src/allocation/pool-counts.ts',
  'src/allocation/pool-table.ts',
  'src/allocation/record-lines.ts',
  'src/allocation/refusals.ts',
  'src/allocation/reserved.ts',
  'src/allocation/sharing.ts',
  'src/allocation/waiting.ts',
  'src/datapath/layout.ts',
  'src/datapath/maglev.ts',
  'src/datapath/maps.ts',
  'src/datapath/memory-maps.ts',
  'src/datapath/reasons.ts',
  'src/datapath/events.ts',
  ...['event-names', 'filter', 'named-event', 'observers'].map((name) => `src/flows/${name}.ts`),
  'src/datapath/served.ts',
  'src/datapath/slots.ts',
  'src/datapath/tables',
  'src/datapath/fake.ts',
  'src/reconcile',
  'src/operator/allocation.ts',
  'src/operator/configuration-writes.ts',
  'src/operator/election.ts',
  'src/operator/event-log.ts',
  'src/operator/operator.ts',
  'src/operator/service-status.ts',
  'src/operator/service-writes.ts',
  'src/operator/write-queue.ts',
  'src/clock/clock.ts',
  'src/clock/virtual-clock.ts',
  'src/clock/scoped-clock.ts',
]
const impure =
  /\b(Date\.now|new Date\(\)|Math\.random|performance\.now|setTimeout|setInterval|setImmediate|process\.|console\.)/

const within = (path: string, place: string): boolean => path === place || path.startsWith(`${place}/`)
const roomOf = (path: string): string =>
  Object.keys(layers)
    .filter((room) => within(path, room))
    .sort((a, b) => b.length - a.length)[0] ?? ''

function imports(path: string): { readonly target: string; readonly isTypeOnly: boolean }[] {
  return importsOf(read(path))
    .filter(({ specifier }) => specifier.startsWith('.'))
    .map(({ specifier, isTypeOnly }) => ({ target: relative(root, join(root, dirname(path), specifier)), isTypeOnly }))
}

test('imports point only to the rooms that the layers allow', () => {
  const wrong: string[] = []
  for (const path of sources) {
    const room = roomOf(path)
    if (room === '') wrong.push(`${path}: belongs to no room`)
    const allowed = layers[room] ?? []
    for (const { target } of imports(path)) {
      const to = roomOf(target)
      if (!within(to, room) && !allowed.includes(to) && !allowed.includes('*')) wrong.push(`${path} -> ${target}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('nothing imports in a circle', () => {
  const edges = new Map(
    sources.map((path) => [
      path,
      imports(path)
        .filter((edge) => !edge.isTypeOnly)
        .map((edge) => edge.target),
    ]),
  )
  const done = new Set<string>()
  const circles: string[] = []
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) circles.push([...trail.slice(trail.indexOf(path)), path].join(' -> '))
    if (done.has(path) || trail.includes(path)) return
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path])
    done.add(path)
  }
  for (const path of sources) visit(path, [])
  assert.deepEqual(circles, [])
})

test('pure rooms touch no clock, socket, environment, randomness or log', () => {
  const wrong = sources
    .filter((path) => pure.some((place) => within(path, place)))
    .flatMap((path) => {
      const text = stripCommentsAndStrings(read(path))
      const nodeImports = importsOf(read(path)).filter(({ specifier }) => specifier.startsWith('node:'))
      return [
        ...nodeImports.map(({ specifier }) => `${path}: ${specifier}`),
        ...(impure.exec(text) ?? []).slice(0, 1).map((word) => `${path}: ${word}`),
      ]
    })
  assert.deepEqual(wrong, [])
})

test('a pure room does not reach a clock, socket, file, environment, random source or log by any path', () => {
  const reasonsOf = (path: string): readonly string[] => {
    const text = read(path)
    const foreign = importsOf(text)
      .filter(({ specifier, isTypeOnly }) => !isTypeOnly && /^(node:|koffi$|pino$|undici$)/.test(specifier))
      .map(({ specifier }) => specifier)
    return [...(impure.exec(stripCommentsAndStrings(text)) ?? []).slice(0, 1), ...foreign]
  }
  const reasons = new Map(sources.map((path) => [path, reasonsOf(path)]))
  const wrong = new Set<string>()
  for (const path of sources.filter((each) => pure.some((place) => within(each, place)))) {
    const trails = new Map([[path, path]])
    for (const [at, trail] of trails) {
      const [reason] = reasons.get(at) ?? []
      if (reason !== undefined) wrong.add(`${trail}: ${reason}`)
      for (const { target, isTypeOnly } of imports(at))
        if (!isTypeOnly && !trails.has(target)) trails.set(target, `${trail} -> ${target}`)
    }
  }
  assert.deepEqual([...wrong], [])
})

test('only src/sys calls foreign functions and only one file knows the Kubernetes client', () => {
  const owners: Readonly<Record<string, string>> = {
    koffi: 'src/sys',
    '@kubernetes/client-node': 'src/k8s/apiserver/credentials.ts',
  }
  const wrong = sources.flatMap((path) =>
    importsOf(read(path))
      .filter(({ specifier }) => owners[specifier] !== undefined && !within(path, owners[specifier] ?? ''))
      .map(({ specifier }) => `${path}: ${specifier}`),
  )
  assert.deepEqual(wrong, [])
})

test('folders with their parents are made by src/sys/folder.ts: the way of Node never ends on procfs', () => {
  const wrong = sources
    .filter((path) => path.startsWith('src/'))
    .filter((path) => /mkdir(?:Sync)?\([^\n]*recursive/.test(stripCommentsAndStrings(read(path), true)))
  assert.deepEqual(wrong, [])
})

test('no dialect of configuration is named outside kinds and dialects', () => {
  // Metrics have Cilium's names beside ours: that is a contract of its own.
  // A verb that moves from them has their names for words.
  const owners = [
    'src/k8s/kinds',
    'src/k8s/dialects',
    'src/observe/metrics',
    'src/cli/migrate.ts',
    'src/api/migration.ts',
  ]
  const wrong = sources
    .filter((path) => path.startsWith('src/') && !owners.some((place) => within(path, place)))
    .filter((path) => /cilium|metallb/i.test(stripCommentsAndStrings(read(path), true)))
  assert.deepEqual(wrong, [])
})

test('every error code is raised somewhere', () => {
  const text = sources
    .filter((path) => path !== 'src/errors.ts')
    .map((path) => read(path))
    .join('\n')
  const codes = [...read('src/errors.ts').matchAll(/^ {2}(ERR_\w+):/gm)].map((match) => match[1] ?? '')
  assert.ok(codes.length > 5)
  assert.deepEqual(
    codes.filter((each) => !text.includes(`'${each}'`)),
    [],
  )
})

test('every export is taken by another file', () => {
  const taken = new Set<string>()
  for (const path of code)
    for (const { specifier, names } of namesTaken(read(path)))
      for (const name of names) taken.add(`${relative(root, join(root, dirname(path), specifier))} ${name}`)
  const wrong = sources.flatMap((path) =>
    exportsOf(read(path))
      // A type may stand in a signature only: then its own file names it once more.
      .filter(({ name, isType }) => !isType || read(path).split(new RegExp(`\\b${name}\\b`)).length <= 2)
      .filter(({ name }) => !taken.has(`${path} ${name}`) && !taken.has(`${path} *`))
      .map(({ name }) => `${path}: nobody takes ${name}`),
  )
  assert.deepEqual(wrong, [])
})

test('there are no barrels and no files named after nothing', () => {
  const banned = /(^|[/-])(index|utils?|helpers?|common|managers?|misc)\.[a-z]+$/
  assert.deepEqual(
    code.filter((path) => banned.test(path)),
    [],
  )
})

test(`files have at most ${maxFileLines} lines`, () => {
  const long = [...code, ...filesBelow('src', ['.c', '.h'])].filter(
    (path) => read(path).split('\n').length - 1 > maxFileLines,
  )
  assert.deepEqual(long, [])
})

test(`lines have at most ${maxColumns} columns`, () => {
  // A literal is not broken by the formatter: in tests, and where a line is one pattern, the rest of the line counts.
  const literal = /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*(?:`|$)|\/(?:[^/\\]|\\.)+\/[a-z]*/g
  const isWhole = (path: string, line: string): boolean =>
    (path.startsWith('test/') ? line.replace(literal, '') : line.replace(/^\s*\/.*\/[a-z]*$/, '')).length <= maxColumns
  const wide = [...code, ...filesBelow('src', ['.c', '.h'])].flatMap((path) =>
    read(path)
      .split('\n')
      .flatMap((line, index) => (line.length > maxColumns && !isWhole(path, line) ? [`${path}:${index + 1}`] : [])),
  )
  assert.deepEqual(wide, [])
})

test(`functions have at most ${maxFunctionLines} lines`, () => {
  const long = sources.flatMap((path) =>
    functionsOf(read(path))
      .filter((found) => found.lines > maxFunctionLines)
      .map((found) => `${path}:${found.line} ${found.name} (${found.lines})`),
  )
  assert.deepEqual(long, [])
})

test('there is no any, no silenced type error and no bare Error in the program', () => {
  const rules: readonly [RegExp, string][] = [
    [/(:|\bas|<|\|)\s*any\b/, 'any'],
    [/\bas unknown as\b/, 'double cast'],
    [/\bthrow new (Error|TypeError|RangeError)\b/, 'bare error'],
    [/\bnew Error\(/, 'bare error'],
  ]
  const wrong = sources.flatMap((path) => {
    const text = stripCommentsAndStrings(read(path))
    return rules.filter(([pattern]) => pattern.test(text)).map(([, name]) => `${path}: ${name}`)
  })
  const silenced = code.filter(
    (path) => path !== 'test/tidy.test.ts' && /@ts-(ignore|nocheck|expect-error)/.test(read(path)),
  )
  assert.deepEqual([...wrong, ...silenced], [])
})

test('tests wait on a state with a deadline and never just sleep', () => {
  // test/wait.ts owns the one timer: it polls a condition until a deadline.
  const sleeping = filesBelow('test', ['.ts'])
    .filter((path) => path !== 'test/wait.ts' && path !== 'test/tidy.test.ts')
    .filter((path) =>
      /\bsetTimeout\(\s*(resolve|r|done)\b|timers\/promises|\bAtomics\.wait\(/.test(
        stripCommentsAndStrings(read(path), true),
      ),
    )
  assert.deepEqual(sleeping, [])
})

test('tests are neither skipped for good nor focused', () => {
  const wrong = filesBelow('test', ['.ts']).filter(
    (path) =>
      path !== 'test/tidy.test.ts' &&
      /\b(test|it|describe)\.(only|todo)\(|skip: true/.test(stripCommentsAndStrings(read(path))),
  )
  assert.deepEqual(wrong, [])
})

test('every path that ARCHITECTURE.md names exists and the page stays short', () => {
  const page = read('ARCHITECTURE.md')
  assert.ok(page.split('\n').length <= 400)
  const named = [...page.matchAll(/`((?:src|lab|test|bench|containerlab|docs|scripts|bin|charts)\/[\w./<>*-]*)`/g)].map(
    (match) => match[1] ?? '',
  )
  const dead = named.filter((path) => !/[<>*]/.test(path) && !existsSync(join(root, path)))
  assert.deepEqual(dead, [])
})
