/** `herald validate` as a process. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { problemSchema } from '../../src/api/types.ts'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'herald-validate-'))
after(() => rmSync(folder, { recursive: true }))
const run = (...words: string[]) => spawnSync(herald, ['validate', ...words], { encoding: 'utf8', timeout: 60_000 })

test('a broken file is exit 1 with place and remedy on one line, and JSON in the form of the API', () => {
  const file = join(folder, 'broken.yaml')
  writeFileSync(
    file,
    'apiVersion: v1\nkind: Service\nmetadata: {name: "a\\eb", namespace: default}\nspec: {type: LoadBalancer, ' +
      'ports: [{port: 99999999, protocol: TCP}]}\n',
  )
  const { status, stdout } = run(file)
  assert.equal(status, 1)
  assert.match(stdout, /broken\.yaml:\d+(:\d+)?: error: /)
  assert.doesNotMatch(stdout, /\u001b/)
  const problems = z.array(problemSchema.strict()).parse(JSON.parse(run(file, '-o', 'json').stdout))
  assert.ok(
    problems.some(({ severity, file: place, remedy }) => severity === 'error' && place === file && remedy !== ''),
  )
})

test('a folder without a fault is exit 0', () => {
  const good = join(folder, 'good.yaml')
  writeFileSync(good, 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n')
  const { status, stdout } = run(good)
  assert.deepEqual([status, stdout], [0, '1 file(s) ok\nignored: of kinds that are not read: 1 ConfigMap\n'])
})

test('where nothing was read nothing is ok: exit 2, and what was looked for', () => {
  const bare = join(folder, 'bare')
  mkdirSync(join(bare, 'below'), { recursive: true })
  writeFileSync(join(bare, 'notes.txt'), 'no manifest')
  const without = join(folder, 'without.yaml')
  writeFileSync(without, '# every overlay is empty\n---\n')
  const good = join(folder, 'good.yaml')
  writeFileSync(good, 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n')
  const isUsage = (words: readonly string[], says: string): void => {
    const { status, stdout, stderr } = spawnSync(herald, words, { encoding: 'utf8', timeout: 60_000 })
    assert.deepEqual([status, stdout], [2, ''], words.join(' '))
    assert.ok(stderr.startsWith(`herald: nothing was read: ${says}\n`), stderr)
  }
  for (const verb of [['validate'], ['validate', '-o', 'json'], ['migrate', 'metallb']]) {
    // Also one of several, which a script may have by a wrong name.
    for (const paths of [[bare], [good, bare]])
      isUsage([...verb, ...paths], `${bare} has no file that ends in .yaml, .yml or .json`)
    isUsage([...verb, without], `there is no object in ${without}`)
  }
  assert.equal(run(good, without).status, 0)
})

test('what the agent of a node would say is said, for every Node or for the one that is named', () => {
  const text = (name: string, address: string): string =>
    `apiVersion: v1\nkind: Node\nmetadata: {name: ${name}}\nstatus: {addresses: [{type: InternalIP, address: ${address}}]}\n---\n`
  const policy =
    'apiVersion: cilium.io/v2alpha1\nkind: CiliumBGPPeeringPolicy\nmetadata: {name: p}\nspec:\n  nodeSelector: {}\n' +
    '  virtualRouters:\n  - localASN: 1\n    serviceSelector: {}\n    neighbors: [{peerAddress: "::/128", peerASN: 2}]\n'
  const file = join(folder, 'nodes.yaml')
  writeFileSync(file, text('n1', '10.0.0.1') + text('n2', 'fd00::2') + policy)
  const all = run(file)
  assert.equal(all.status, 1)
  assert.match(all.stdout, /nodes\.yaml:\d+:\d+: error: CiliumBGPPeeringPolicy\/p .*peerAddress: .* needs an interface/)
  assert.match(all.stdout, /Node\/n2 .*: router ID \d+\.\d+\.\d+\.\d+ is derived|node n2 has no IPv4 InternalIP/)
  assert.doesNotMatch(run(file, '--node-name', 'n1').stdout, /n2/)
  assert.match(run(file, '--node-name', 'n3').stdout, /there is no Node n3/)
})

/** Mounts a file system of which nobody serves the requests, and gives the command the folder. */
const silently =
  'exec 7<>/dev/fuse && mount -i -t fuse -o fd=7,rootmode=40000,user_id=0,group_id=0 silent "$1" || exit 99\n' +
  '"$2" "$3" ${4:+"$4"} "$1" 7>&-'
const silent = (...words: readonly string[]) => {
  const place = mkdtempSync(join(folder, 'silent-'))
  const shell = ['--mount', 'sh', '-c', silently, 'sh', place, herald, ...words]
  const { status, stderr } = spawnSync('unshare', shell, { encoding: 'utf8', timeout: 60_000 })
  return { status, stderr: stderr.replaceAll(place, 'PLACE') }
}
const whyNoFuse =
  process.getuid?.() !== 0 || !existsSync('/dev/fuse')
    ? 'a file system in user space needs root and /dev/fuse'
    : silent('version').status === 99 && 'no file system in user space may be mounted here'

test('a folder whose file system does not answer is told of, and holds neither the command nor its end', {
  skip: whyNoFuse,
}, () => {
  for (const words of [['validate'], ['migrate', 'metallb']]) {
    const { status, stderr } = silent(...words)
    assert.equal(status, 2, stderr)
    assert.match(stderr, /cannot read the manifests: the file system of PLACE has not answered for 5 s\n/)
  }
})

const web = 'apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: LoadBalancer, ports: [{port: 80}]}\n'

test('a folder is read as the agent reads it: sub-folders, links once, UTF-16; what is no input is said', () => {
  const manifests = join(folder, 'manifests')
  mkdirSync(join(manifests, 'team'), { recursive: true })
  mkdirSync(join(manifests, '.herald'))
  writeFileSync(join(manifests, '.herald', 'x.yaml'), 'broken: [')
  writeFileSync(join(manifests, 'notes.txt'), 'broken: [')
  writeFileSync(join(manifests, 'team', 'wide.yaml'), Buffer.from(`\ufeff${web}`, 'utf16le'))
  symlinkSync('.', join(manifests, 'loop'))
  symlinkSync('wide.yaml', join(manifests, 'team', 'again.yaml'))
  const { status, stdout } = run(manifests)
  assert.equal(status, 0, stdout)
  assert.match(stdout, /^1 file\(s\) ok\nignored: .*loop\/.*; .*notes\.txt; .*wide\.yaml\n$/)
})

test('a file that is named twice, by a folder and itself or by a link, is one file; two files are two', () => {
  const named = join(folder, 'named')
  mkdirSync(named)
  const file = join(named, 'web.yaml')
  writeFileSync(file, web)
  symlinkSync(file, join(folder, 'link.yaml'))
  const { status, stdout } = run(named, file, join(named, '..', 'named', 'web.yaml'), join(folder, 'link.yaml'))
  assert.deepEqual([status, stdout], [0, '1 file(s) ok\n'])
  writeFileSync(join(named, 'copy.yaml'), web)
  assert.match(run(named).stdout, /web\.yaml:1:1: error: Service\/default\/web: .* is in .*copy\.yaml line 1 already/)
})

test('what is not UTF-8, a FIFO and a file that is nested without end are errors with their place, and end', () => {
  const bad = join(folder, 'bad')
  mkdirSync(bad)
  writeFileSync(join(bad, 'latin.yaml'), Buffer.concat([Buffer.from('a: 1\nb: caf'), Buffer.from([0xe9])]))
  writeFileSync(join(bad, 'deep.yaml'), `a:\n  ${'['.repeat(3500)}${']'.repeat(3500)}\n`)
  execFileSync('mkfifo', [join(bad, 'fifo.yaml')])
  const { status, stdout } = run(bad)
  assert.equal(status, 1)
  assert.match(stdout, /latin\.yaml:2:7: error: .*byte 0xe9 is not UTF-8/)
  assert.match(stdout, /deep\.yaml:2:6\d: error: .*more than 64 collections/)
  assert.match(stdout, /fifo\.yaml: error: .*it is a FIFO/)
})
