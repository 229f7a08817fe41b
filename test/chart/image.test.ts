/**
 * The Dockerfile without a container engine: what its last stage copies is laid out in a folder from the same build,
 * with the C library of this machine in place of the base image's, and its entry point runs with that folder as root.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { buildProgram } from '../../scripts/build.ts'
import { buildBpf } from '../../scripts/build-bpf.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const arch = process.arch
const libbpf = ['/usr/lib/x86_64-linux-gnu/libbpf.so.1', '/usr/lib/aarch64-linux-gnu/libbpf.so.1'].find(existsSync)
const canBuild = libbpf !== undefined && spawnSync('clang', ['--version'], { stdio: 'ignore' }).status === 0
const skip = !canBuild
  ? 'no clang or libbpf here'
  : process.geteuid?.() === 0
    ? false
    : 'changing the root folder needs root'

interface Instruction {
  readonly word: string
  readonly args: string
}

/** Of each stage: its name or base, and its instructions. */
function stagesOf(dockerfile: string): readonly { readonly from: string; readonly instructions: Instruction[] }[] {
  const lines = dockerfile
    .replace(/^#.*$/gm, '')
    .replace(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
  const stages: { from: string; instructions: Instruction[] }[] = []
  for (const line of lines) {
    const [, word = '', args = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? []
    if (word === 'FROM') stages.push({ from: args, instructions: [] })
    else stages.at(-1)?.instructions.push({ word, args })
  }
  return stages
}

const stages = stagesOf(readFileSync(join(root, 'Dockerfile'), 'utf8'))
const last = stages.at(-1)

const copies = (): readonly Instruction[] => (last?.instructions ?? []).filter(({ word }) => word === 'COPY')
const listOf = (word: string): readonly string[] =>
  JSON.parse(last?.instructions.find((each) => each.word === word)?.args ?? '[]')

let work: string
/** Of the image. */
let top: string

/** Libraries that a program or library needs, from the loader's own words. */
const neededBy = (path: string): readonly string[] =>
  [...execFileSync('ldd', [path], { encoding: 'utf8' }).matchAll(/(?:=> |^\s*)(\/\S+) \(/gm)].map(([, at = '']) => at)

/** What a path of an earlier stage is here. */
function sourceOf(stage: string, path: string): string {
  if (stage === 'libbpf') return join(work, 'libs')
  if (path.startsWith('/native/')) return join(work, path)
  // Built beside, so that no other test sees a build come and go.
  if (path.startsWith('/src/build')) return join(work, 'build')
  return join(root, path.replace(/^\/src\//, ''))
}

function layOut(): void {
  mkdirSync(join(work, 'libs'))
  const beside = neededBy(libbpf ?? '').filter((path) => /lib(elf|z|zstd)\./.test(path))
  for (const path of [libbpf ?? '', ...beside]) copyFileSync(path, join(work, 'libs', basename(path)))
  const modules = join(work, 'native/node_modules')
  cpSync(join(root, `node_modules/node-linux-${arch}/bin/node`), join(work, 'native/node'))
  for (const name of ['koffi', `@koromix/koffi-linux-${arch}`])
    cpSync(join(root, 'node_modules', name), join(modules, name), { recursive: true })
  buildProgram(join(work, 'build'))
  cpSync(dirname(buildBpf()), join(work, 'build/bpf'), { recursive: true })
}

before(() => {
  work = mkdtempSync(join(tmpdir(), 'herald-image-'))
  top = join(work, 'image')
  if (skip !== false) return
  layOut()
  for (const { args } of copies()) {
    const [from = '', ...paths] = args.split(/\s+/)
    const target = join(top, paths.at(-1) ?? '')
    for (const path of paths.slice(0, -1)) {
      const source = sourceOf(from.replace('--from=', ''), path)
      const isInto = (paths.at(-1) ?? '').endsWith('/') && !path.endsWith('/')
      mkdirSync(isInto ? target : dirname(target), { recursive: true })
      cpSync(source, isInto ? join(target, basename(path)) : target, { recursive: true })
    }
  }
  // The base image: a C and C++ library, and nothing else.
  for (const path of neededBy(join(work, 'native/node'))) {
    mkdirSync(dirname(join(top, path)), { recursive: true })
    copyFileSync(path, join(top, path))
  }
})
after(() => rmSync(work, { recursive: true, force: true }))

function inImage(...args: readonly string[]): { readonly code: number | null; readonly output: string } {
  const [entry = '', ...rest] = [...listOf('ENTRYPOINT'), ...args]
  const { status, stdout, stderr } = spawnSync('/usr/sbin/chroot', [top, entry, ...rest], { encoding: 'utf8', env: {} })
  return { code: status, output: stdout + stderr }
}

test('every file that the image takes from the checkout is there, and none of them is ignored', () => {
  const ignored = readFileSync(join(root, '.dockerignore'), 'utf8').split('\n')
  for (const { args } of stages[0]?.instructions.filter(({ word }) => word === 'COPY') ?? [])
    for (const path of args.split(/\s+/).slice(0, -1)) {
      assert.ok(existsSync(join(root, path)), path)
      assert.ok(!ignored.includes(path), path)
    }
  for (const { args } of copies()) {
    const paths = args.split(/\s+/).slice(1, -1)
    for (const path of paths.filter((each) => /^\/src\/(?!build\/)/.test(each)))
      assert.ok(existsSync(join(root, path.slice('/src/'.length))), path)
  }
})

test('the last stage runs nothing, comes from an image without a shell, and takes only what was built', () => {
  assert.match(last?.from ?? '', /^gcr\.io\/distroless\/cc-debian12$/)
  assert.deepEqual(
    last?.instructions.map(({ word }) => word).filter((word) => word === 'RUN' || word === 'ADD'),
    [],
  )
  assert.ok(copies().every(({ args }) => args.startsWith('--from=')))
})

/** The words of a stage's RUN that has `part`, from `start` on. */
function runOf(stage: string, part: string, start = ''): string {
  const instructions = stages.find(({ from }) => from.endsWith(`AS ${stage}`))?.instructions ?? []
  const found = instructions.find(({ word, args }) => word === 'RUN' && args.includes(part))?.args ?? ''
  assert.ok(found.includes(start), `RUN with ${part} in ${stage}`)
  return found.slice(found.indexOf(start))
}

test('the image starts as a numbered user, with a file of the image that may be run', () => {
  const argument = (word: string): string => last?.instructions.find((each) => each.word === word)?.args ?? ''
  assert.match(argument('USER'), /^\d+:\d+$/, 'Kubernetes checks runAsNonRoot by the number')
  const [entry = ''] = listOf('ENTRYPOINT')
  const source = copies()
    .map(({ args }) => args.split(/\s+/).slice(1))
    .find((paths) => paths.at(-1) === entry)?.[0]
  assert.ok(source !== undefined && source.startsWith('/src/'), `nothing is copied to ${entry}`)
  assert.equal(statSync(join(root, source.slice('/src/'.length))).mode & 0o111, 0o111)
})

for (const [target, arch] of [
  ['amd64', 'x64'],
  ['arm64', 'arm64'],
] as const)
  test(`for ${target} the build takes native packages of ${arch}, and none that is for development`, () => {
    const place = mkdtempSync(join(work, `${target}-`))
    const packages = [`node-linux-${arch}/bin/node`, 'koffi/index.js', `@koromix/koffi-linux-${arch}/koffi.node`]
    for (const name of packages) {
      mkdirSync(join(place, 'node_modules', dirname(name)), { recursive: true })
      writeFileSync(join(place, 'node_modules', name), '')
    }
    const script = runOf('build', 'TARGETARCH').replaceAll('/native', `${place}/native`)
    const env = { PATH: process.env['PATH'], TARGETARCH: target }
    // npm says what it was asked for; what it would bring is there.
    const ran = spawnSync('sh', ['-ec', `npm() { echo "$@"; }\n${script}`], { cwd: place, env, encoding: 'utf8' })
    assert.equal(ran.status, 0, ran.stderr)
    assert.match(ran.stdout, new RegExp(`^ci .*--omit=dev .*--cpu=${arch}( |$)`, 'm'))
    const made = readdirSync(join(place, 'native'), { recursive: true }).map(String)
    assert.ok(made.includes('node') && made.includes(`node_modules/@koromix/koffi-linux-${arch}/koffi.node`))
    const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    for (const name of Object.keys(devDependencies)) assert.ok(!made.includes(`node_modules/${name}`), name)
  })

test('the stage of libbpf finds it and what it needs', { skip }, () => {
  const libs = join(work, 'found')
  const script = runOf('libbpf', 'libbpf1', 'mkdir /libs').replaceAll('/libs', libs)
  const ran = spawnSync('sh', ['-ec', script], { encoding: 'utf8' })
  assert.equal(ran.status, 0, ran.stderr)
  assert.deepEqual(readdirSync(libs).sort(), readdirSync(join(work, 'libs')).sort())
})

test('the image runs with a root that nobody can write, also as the user of the operator', { skip }, () => {
  const readOnly = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec chroot'
  const [entry = ''] = listOf('ENTRYPOINT')
  for (const user of ['0:0', '65532:65532']) {
    const run = (...args: readonly string[]) =>
      spawnSync('unshare', ['-m', 'sh', '-ec', `${readOnly} --userspec=${user} "$0" "$@"`, top, entry, ...args], {
        encoding: 'utf8',
        env: { PATH: process.env['PATH'] },
      })
    const { status, stdout, stderr } = run('version')
    assert.deepEqual([status, stderr], [0, ''], user)
    assert.match(stdout, /^herald /)
    const operator = run('operator', '--kubeconfig', '/nowhere', '--http', 'none')
    assert.match(operator.stderr + operator.stdout, /\/nowhere cannot be read/, user)
  }
  assert.deepEqual(readdirSync(join(top, 'opt/herald/node_modules')).sort(), ['@koromix', 'koffi'])
})

test('the image runs the program of this version on the pinned Node', { skip }, () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const { version: node } = JSON.parse(readFileSync(join(root, `node_modules/node-linux-${arch}/package.json`), 'utf8'))
  assert.deepEqual(inImage('version'), { code: 0, output: `herald ${version} (node v${node}, linux/${arch})\n` })
})

test('the image without arguments says what it can do', { skip }, () => {
  const { code, output } = inImage(...listOf('CMD'))
  assert.equal(code, 0)
  assert.match(output, /agent/)
})

test('the image finds its native parts: libbpf, and the kernel programs beside the bundle', { skip }, () => {
  const script = "require('/opt/herald/node_modules/koffi').load('libbpf.so.1'); console.log('loaded')"
  const args = [top, '/usr/local/bin/node', '-e', script]
  const { stdout, stderr } = spawnSync('/usr/sbin/chroot', args, { encoding: 'utf8', env: {} })
  assert.equal(stdout, 'loaded\n', stderr)
  assert.ok(existsSync(join(top, 'opt/herald/build/bpf/herald.bpf.o')))
})

test('the image reads manifests: everything that a verb loads late is in it', { skip }, () => {
  mkdirSync(join(top, 'tmp'))
  writeFileSync(join(top, 'tmp/pool.yaml'), 'apiVersion: cilium.io/v2\nkind: CiliumLoadBalancerIPPool\nmetadata: {}\n')
  chmodSync(join(top, 'tmp/pool.yaml'), 0o644)
  const { code, output } = inImage('validate', '/tmp/pool.yaml')
  assert.equal(code, 1)
  assert.match(output, /pool\.yaml:1:1: error: .* has no metadata\.name/)
})

test('an agent in the image becomes the bundled program, which reads a kubeconfig', { skip }, () => {
  // All of /proc that the start reads.
  const boot = join(top, 'proc/sys/kernel/random')
  mkdirSync(boot, { recursive: true })
  writeFileSync(join(boot, 'boot_id'), 'a\n')
  const { code, output } = inImage('agent', '--node-name', 'node1', '--kubeconfig', '/nowhere')
  assert.notEqual(code, 0)
  assert.match(output, /\/nowhere cannot be read/)
})
