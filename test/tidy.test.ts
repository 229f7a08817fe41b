/**
 * The rules of ARCHITECTURE.md as tests: which room may import which (rooms.ts), no cycles, no barrels, small files and
 * functions, no `any`, no bare errors, no sleeping tests, and every path that ARCHITECTURE.md names exists.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { layers, pure } from './rooms.ts'
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
      .filter(({ specifier, isTypeOnly }) => !isTypeOnly && /^(node:|koffi$|pino$)/.test(specifier))
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
  const literal = /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*(?:`|$)|\/(?![*/])(?:[^/\\]|\\.)+\/[a-z]*/g
  const isWhole = (path: string, line: string): boolean =>
    (path.startsWith('test/') ? line.replace(literal, '') : line.replace(/^\s*\/(?![*/]).*\/[a-z]*$/, '')).length <=
    maxColumns
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
