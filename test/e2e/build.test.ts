/** The bundled program: what is in which file, that it runs, and when bin/herald takes it. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { fetchStatus } from '../../src/api/client.ts'
import { agentFlags, operatorFlags } from '../../src/cli/hand-over.ts'
import { buildProgram } from '../../scripts/build.ts'
import { FakeApiServer } from '../k8s/apiserver/fake-server.ts'
import { waitFor } from '../wait.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
mkdirSync(join(root, 'build'), { recursive: true })
// Inside the checkout, whose node_modules has koffi.
const folder = mkdtempSync(join(root, 'build/test-'))
const build = join(folder, 'build')
const agents: ChildProcess[] = []
after(() => {
  for (const agent of agents) agent.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})
const herald = buildProgram(build)

const text = (name: string): string => readFileSync(join(build, name), 'utf8')
/** Paths of the modules that esbuild says went into a file. */
const modulesOf = (name: string): string[] =>
  [...text(name).matchAll(/^\/\/ (\S+\.(?:ts|js|mjs|cjs))$/gm)].map((m) => m[1] ?? '')

/** By default as the command line becomes it. */
function startAgent(
  name: string,
  program: readonly string[] = [herald],
): { readonly pid: number; readonly socket: string } {
  const manifests = join(folder, 'manifests')
  mkdirSync(manifests, { recursive: true })
  writeFileSync(
    join(manifests, 'node.yaml'),
    'apiVersion: v1\nkind: Node\nmetadata: {name: node1}\nspec: {podCIDRs: [10.1.1.0/24]}\n',
  )
  const socket = join(folder, `${name}.sock`)
  const words = ['agent', '--node-name', 'node1', '--manifests', manifests, '--datapath', 'none', '--http', 'none']
  const places = ['--bgp-listen', 'none', '--state-dir', join(folder, name), '--socket', socket]
  const agent = spawn(process.execPath, [...program, ...words, ...places], { stdio: 'ignore' })
  agents.push(agent)
  return { pid: agent.pid ?? 0, socket }
}

test('each file holds what its process needs and nothing of the others', () => {
  const foreign = (name: string, pattern: RegExp): string[] => modulesOf(name).filter((path) => pattern.test(path))
  assert.ok(modulesOf('herald.cjs').includes('src/main.ts'))
  assert.deepEqual(foreign('herald.cjs', /node_modules\/commander\/|src\/cli\/(?!exit|text|hand-over)/), [])
  // Named imports from 'zod' bring the messages of fifty languages along, each a file beside an index that is empty.
  assert.deepEqual(foreign('herald.cjs', /zod\/.*\/locales\/(?!en\.|index\.)/), [])
  assert.ok(modulesOf('worker.cjs').includes('src/speaker/worker.ts'))
  assert.deepEqual(
    foreign('worker.cjs', /node_modules\/(?!ip-address\/)|src\/(k8s|agent|cli|api|datapath|observe)\//),
    [],
  )
  assert.ok(modulesOf('flow-worker.cjs').includes('src/flows/flow-worker.ts'))
  assert.deepEqual(
    foreign('flow-worker.cjs', /node_modules\/(?!ip-address\/)|src\/(k8s|agent|cli|api|speaker|observe)\//),
    [],
  )
  assert.ok(modulesOf('bfd-worker.cjs').includes('src/bfd/thread/bfd-worker.ts'))
  assert.deepEqual(
    foreign('bfd-worker.cjs', /node_modules\/(?!ip-address\/)|src\/(k8s|agent|cli|api|datapath|speaker|observe)\//),
    [],
  )
  assert.ok(modulesOf('daemon.cjs').includes('node_modules/commander/lib/command.js'))
  assert.deepEqual(
    foreign('daemon.cjs', /node_modules\/(?!commander\/|yaml\/)|src\/(?!cli\/|errors\.ts|api\/unprintable)/),
    [],
  )
  // The Kubernetes client is for an agent with an API server.
  assert.ok(modulesOf('apiserver.cjs').includes('src/k8s/apiserver/connect.ts'))
  assert.deepEqual(foreign('apiserver.cjs', /^src\/(?!k8s\/(?:apiserver\/|source\.ts)|clock\/|errors\.ts)/), [])
  // Of the client the kubeconfig: its requests, and what they go by, take 20 MiB.
  const rest = /client-node\/dist\/(gen\/(?!rxjsStub)|index)|node_modules\/(undici|ws|socks|tar)\//
  assert.deepEqual(foreign('apiserver.cjs', rest), [])
  assert.deepEqual(foreign('herald.cjs', /node_modules\/@kubernetes\//), [])
  assert.deepEqual(
    foreign('cli/herald.js', /node_modules\/(?!commander\/)|src\/(?!cli\/|api\/|clock\/|errors\.ts)/),
    [],
  )
})

test('the part for an API server reads a kubeconfig, and lists over HTTP/2 what the server has', async () => {
  const server = new FakeApiServer()
  server.store('/api/v1/nodes', { metadata: { name: 'node1' } })
  const { server: url, tls } = await server.start()
  const certificate = Buffer.from(String((await tls()).ca)).toString('base64')
  const kubeconfig = join(folder, 'kubeconfig')
  const named = { cluster: 'c', context: 'x', user: 'u' }
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      'current-context': named.context,
      contexts: [{ name: named.context, context: named }],
      clusters: [{ name: named.cluster, cluster: { server: url.href, 'certificate-authority-data': certificate } }],
      users: [{ name: named.user, user: { token: 'one' } }],
    }),
  )
  const part: typeof import('../../src/k8s/apiserver/connect.ts') = createRequire(herald)(join(build, 'apiserver.cjs'))
  const { transport } = part.connectApiServer(kubeconfig)
  const { status, body } = await transport.get('/api/v1/nodes', new AbortController().signal)
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  await transport.close()
  await server.stop()
  assert.equal(status, 200)
  assert.match(Buffer.concat(chunks).toString(), /"name":"node1"/)
})

test('what the engine made of the long-lived files is kept beside them, and taken with the flags of the agent', () => {
  const files = ['herald.cjs', 'worker.cjs', 'apiserver.cjs', 'daemon.cjs'].map((name) => join(build, name))
  const look = `
    const { readFileSync } = require('node:fs')
    for (const path of ${JSON.stringify(files)}) {
      const [source, code] = [readFileSync(path, 'latin1'), readFileSync(path + '.code')]
      const cachedData = code.subarray(code.indexOf(10) + 1)
      const wrapped = '(function (exports, require, module, __filename, __dirname) {' + source + '\\n})'
      console.log(new (require('node:vm').Script)(wrapped, { cachedData, filename: path }).cachedDataRejected)
    }`
  const taken = (...flags: readonly string[]): string =>
    execFileSync(process.execPath, [...flags, '--eval', look], { encoding: 'utf8' }).trim()
  for (const flags of [agentFlags, operatorFlags]) assert.equal(taken(...flags), 'false\nfalse\nfalse\nfalse')
  assert.match(taken('--no-opt'), /true/, 'of an engine with other flags it is passed over')
  for (const path of files) {
    const head = readFileSync(`${path}.code`).toString('latin1', 0, 200).split('\n')[0]
    assert.equal(head, `${process.version} ${process.arch} ${readFileSync(path, 'utf8').trimEnd().split('\n').at(-1)}`)
  }
})

test("Node's own modules come out of Node's code cache under the flags of both daemons, and after a collection", () => {
  const heap = JSON.stringify(fileURLToPath(new URL('../../src/sys/heap.ts', import.meta.url)))
  const look = `
    const { internalBinding } = require('internal/test/binding')
    require('node:http2')
    import(${heap}).then(({ collectGarbage }) => {
      collectGarbage()
      require('node:dgram')
      const { compiledWithCache, compiledWithoutCache } = internalBinding('builtins').getCacheUsage()
      console.log(JSON.stringify({ hasAll: compiledWithCache.has('dgram'), without: [...compiledWithoutCache] }))
    })`
  const compiled = (...flags: readonly string[]): unknown =>
    JSON.parse(
      execFileSync(process.execPath, [...flags, '--expose-internals', '--no-warnings', '--eval', look], {
        encoding: 'utf8',
      }),
    )
  for (const flags of [agentFlags, operatorFlags]) assert.deepEqual(compiled(...flags), { hasAll: true, without: [] })
  assert.match(JSON.stringify(compiled('--expose-gc')), /"without":.*"http2"/, 'this flag counts for code')
})

test('the license of each bundled package is kept', () => {
  const licenses = text('LICENSES.txt')
  const files = [
    'herald.cjs',
    'worker.cjs',
    'flow-worker.cjs',
    'bfd-worker.cjs',
    'apiserver.cjs',
    ...readdirSync(join(build, 'cli')).map((name) => `cli/${name}`),
  ]
  const packages = new Set(
    files.flatMap(modulesOf).flatMap((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []),
  )
  assert.ok(packages.has('zod') && packages.has('commander'))
  for (const name of packages) assert.match(licenses, new RegExp(`^${name} \\S+ \\(\\S+\\)$`, 'm'))
})

test('the built agent starts, keeps its process id, answers, and loses what the command line handed over', async () => {
  const { pid, socket } = startAgent('runs')
  const status = await waitFor('an answer', () => fetchStatus({ socket }).catch(() => undefined))
  assert.equal(status.node, 'node1')
  const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  assert.ok(words.includes(join(build, 'start.cjs')), words.join(' '))
  assert.deepEqual(words.slice(words.indexOf('agent'), words.indexOf('agent') + 3), ['agent', '--node-name', 'node1'])
  const seen = (output: string): string =>
    execFileSync(process.execPath, [herald, 'status', '--socket', socket, '-o', output], { encoding: 'utf8' })
  assert.match(seen('json'), /"node": "node1"/)
  assert.match(seen('yaml'), /^node: node1$/m)
  agents.at(-1)?.kill('SIGINT')
  assert.deepEqual(await once(agents.at(-1) ?? assert.fail(), 'exit'), [0, null])
})

const atOnce = [...agentFlags, join(build, 'start.cjs')]

test('the agent that is started at once reads its words itself, and keeps nothing of what read them', async () => {
  const place = join(folder, 'snapshots')
  mkdirSync(place)
  const looked = ['--heapsnapshot-signal=SIGUSR2', `--diagnostic-dir=${place}`]
  const { pid, socket } = startAgent('at-once', [...looked, ...atOnce])
  const status = await waitFor('an answer', () => fetchStatus({ socket }).catch(() => undefined))
  assert.equal(status.node, 'node1')
  process.kill(pid, 'SIGUSR2')
  const kept = await waitFor('a snapshot of the heap', () => {
    const [name] = readdirSync(place)
    const all = name === undefined ? '' : readFileSync(join(place, name), 'utf8')
    return all.trimEnd().endsWith('}') ? all : undefined
  })
  assert.match(kept, /prepareSpeakerThread/, 'names of functions are in it')
  assert.doesNotMatch(kept, /showHelpAfterError|configureOutput/)
  agents.at(-1)?.kill('SIGINT')
  assert.deepEqual(await once(agents.at(-1) ?? assert.fail(), 'exit'), [0, null])
})

test('what is started at once takes words, and refuses them, as the command line does', () => {
  const config = join(folder, 'config.yaml')
  writeFileSync(config, 'attach: nowhere\n')
  const said = (words: readonly string[], program: readonly string[]): readonly unknown[] => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [...program, ...words], { encoding: 'utf8' })
    return [status, stdout, stderr]
  }
  const state = ['--state-dir', join(folder, 'refused'), '--datapath', 'none']
  for (const words of [
    ['agent', '--help'],
    ['operator', '--help'],
    ['agent', '--attach', 'nowhere'],
    ['agent', '--config', config],
    ['agent', '--no-such-flag'],
    ['agent', '--manifests', '/nonexistent', '--log-level', 'error', ...state],
    ['operator', '--kubeconfig', '/nonexistent', '--http', 'none'],
  ])
    assert.deepEqual(said(words, atOnce), said(words, [herald]), words.join(' '))
  const [code, , text] = said(['status'], atOnce)
  assert.deepEqual([code, /is no command of its own/.test(String(text))], [2, true])
})

test('a signal that comes before the program is read is heard, for process 1 would never hear of it again', async () => {
  const early = join(folder, 'early')
  mkdirSync(early)
  cpSync(join(build, 'start.cjs'), join(early, 'start.cjs'))
  const program = join(early, 'herald.cjs')
  execFileSync('mkfifo', [program])
  const child = spawn(process.execPath, [join(early, 'start.cjs')], { stdio: 'ignore' })
  agents.push(child)
  const ended = once(child, 'exit')
  const fd = await waitFor('who reads the program', () => {
    try {
      return openSync(program, constants.O_WRONLY | constants.O_NONBLOCK)
    } catch {
      return undefined
    }
  })
  child.kill('SIGTERM')
  const told = `process[Symbol.for('herald.firstSignal')].hear((signal) => process.exit(signal === 'SIGTERM' ? 7 : 8))`
  writeSync(fd, `${told}; setInterval(() => {}, 1000)\n`)
  closeSync(fd)
  assert.deepEqual(await ended, [7, null])
})

test('a help page that stdout does not take is no success, whoever prints it; a closed pipe has taken enough', () => {
  const full = openSync('/dev/full', 'w')
  try {
    for (const program of [atOnce, [herald]])
      for (const verb of ['agent', 'operator']) {
        const words = [...program, verb, '--help']
        const { status, stderr } = spawnSync(process.execPath, words, {
          ...{ stdio: ['ignore', full, 'pipe'], encoding: 'utf8' },
        })
        assert.deepEqual([status, stderr.split(':')[1]], [1, ' cannot write the answer'], words.join(' '))
        const pipe = '"$@" | true; echo "${PIPESTATUS[0]}"'
        const piped = spawnSync('bash', ['-c', pipe, 'bash', process.execPath, ...words])
        assert.deepEqual([String(piped.stdout), String(piped.stderr)], ['0\n', ''], words.join(' '))
      }
  } finally {
    closeSync(full)
  }
})

test('options that another process left in the environment are not taken for those of the command line', () => {
  const options = '{"logLevel":"debug"}'
  const words = ['agent', '--manifests', '/nonexistent', '--state-dir', join(folder, 'left'), '--datapath', 'none']
  for (const variable of ['HERALD_AGENT_OPTIONS', 'HERALD_OPERATOR_OPTIONS'])
    for (const value of ['', 'x', options, `${process.pid} ${options}`])
      for (const program of [atOnce, [herald]]) {
        const env = { ...process.env, [variable]: value }
        const { status, stderr } = spawnSync(process.execPath, [...program, ...words], { encoding: 'utf8', env })
        assert.deepEqual([status, /--manifests \/nonexistent is not a folder/.test(stderr)], [1, true], stderr)
      }
})

test('bin/herald and the image start the agent at once, with its flags', () => {
  const flags = agentFlags.join(' ')
  const lines = (name: string): readonly string[] => readFileSync(join(root, name), 'utf8').split('\n')
  assert.equal(lines('image/herald')[0], `#!/usr/local/bin/node ${flags}`)
  assert.ok(lines('bin/herald').some((line) => line.includes(`exec "$node" ${flags} "$here/build/start.cjs" "$@"`)))
})

test('an agent that cannot start says why and ends with the code of its fault', () => {
  const words = ['agent', '--manifests', '/nonexistent', '--state-dir', join(folder, 'fails'), '--datapath', 'none']
  const { status, stderr } = spawnSync(process.execPath, [herald, ...words], { encoding: 'utf8' })
  assert.deepEqual([status, /--manifests \/nonexistent is not a folder/.test(stderr)], [1, true], stderr)
})

test('who becomes an agent has loaded neither HTTP nor sockets on the way', () => {
  const told = `process.on('exit', () => console.error('loaded ' + process.moduleLoadList.join(' ')))`
  const words = ['--import', `data:text/javascript,${told}`, herald, 'agent', '--help']
  const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  const loaded = stderr.match(/^loaded (.*)$/m)?.[1] ?? ''
  assert.match(loaded, / NativeModule (internal\/)?fs/)
  assert.doesNotMatch(loaded, / NativeModule (http|child_process|dgram|crypto|tls)( |$)/)
})

test('the verbs that load more do so from files beside the command line', () => {
  const file = join(folder, 'manifests/node.yaml')
  assert.equal(spawnSync(process.execPath, [herald, 'validate', file]).status, 0)
  const { stderr } = spawnSync(process.execPath, [herald, 'replay', '/nonexistent'], { encoding: 'utf8' })
  assert.match(stderr, /^herald: .*\/nonexistent/)
})

test('bin/herald runs the built program while it is not older than the sources, else the sources', () => {
  const place = join(folder, 'checkout')
  const programs = { built: join(place, 'build/cli/herald.js'), sources: join(place, 'src/cli/herald.ts') }
  for (const [name, path] of Object.entries(programs)) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, `console.log('${name}')\n`)
  }
  cpSync(join(root, 'bin'), join(place, 'bin'), { recursive: true })
  writeFileSync(join(place, 'package.json'), '{"type": "module"}')
  symlinkSync(join(root, 'node_modules'), join(place, 'node_modules'))
  const says = (): string => execFileSync(join(place, 'bin/herald'), { encoding: 'utf8' }).trim()
  assert.equal(says(), 'sources', 'nothing is built')
  writeFileSync(join(place, 'build/herald.cjs'), '')
  const at = (path: string, second: number): void => utimesSync(join(place, path), second, second)
  for (const path of ['src/cli/herald.ts', 'src/cli', 'src', 'package.json', 'build/herald.cjs']) at(path, 1_000)
  assert.equal(says(), 'built')
  at('src/cli/herald.ts', 1_001)
  assert.equal(says(), 'sources', 'a file was edited')
  at('src/cli/herald.ts', 999)
  at('src/cli', 1_001)
  assert.equal(says(), 'sources', 'a file was removed')
  rmSync(join(place, 'src'), { recursive: true })
  assert.equal(says(), 'built', 'an installed package without sources')
  assert.ok(existsSync(programs.built))
})
