/** The image of the Dockerfile, laid out without a container engine: its entry point runs with that folder as root. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { tmpdir } from 'node:os'
import { headOf } from '../../src/sys/parts.ts'
import { arch, copies, last, layOutImage, listOf, root, skip, stages } from './image.ts'

let work: string
/** Of the image. */
let top: string

before(() => {
  work = mkdtempSync(join(tmpdir(), 'herald-image-'))
  if (skip === false) top = layOutImage(work)
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

test('the image has what the engine made of the program when it was built, for this engine', { skip }, () => {
  for (const name of ['herald.cjs', 'worker.cjs', 'apiserver.cjs', 'daemon.cjs']) {
    const path = join(top, 'opt/herald/build', name)
    const head = headOf(readFileSync(path, 'latin1'))
    assert.equal(readFileSync(`${path}.code`, 'latin1').slice(0, head.length), head, name)
    assert.ok(statSync(path).mtimeMs <= statSync(`${path}.code`).mtimeMs, 'an older one is passed over')
  }
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

test('an agent in the image is the bundled program, which reads a kubeconfig', { skip }, () => {
  // All of /proc that the start reads.
  const boot = join(top, 'proc/sys/kernel/random')
  mkdirSync(boot, { recursive: true })
  writeFileSync(join(boot, 'boot_id'), 'a\n')
  const { code, output } = inImage('agent', '--node-name', 'node1', '--kubeconfig', '/nowhere')
  assert.notEqual(code, 0)
  assert.match(output, /\/nowhere cannot be read/)
})
