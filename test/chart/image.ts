/**
 * The Dockerfile without a container engine: what its last stage copies is laid out in a folder from the same build,
 * with the C library of this machine in place of the base image's.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildProgram } from '../../scripts/build.ts'
import { buildBpf } from '../../scripts/build-bpf.ts'

export const root = fileURLToPath(new URL('../../', import.meta.url))
export const arch = process.arch
const libbpf = ['/usr/lib/x86_64-linux-gnu/libbpf.so.1', '/usr/lib/aarch64-linux-gnu/libbpf.so.1'].find(existsSync)
const canBuild = libbpf !== undefined && spawnSync('clang', ['--version'], { stdio: 'ignore' }).status === 0
export const skip = !canBuild
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

export const stages = stagesOf(readFileSync(join(root, 'Dockerfile'), 'utf8'))
export const last = stages.at(-1)

export const copies = (): readonly Instruction[] => (last?.instructions ?? []).filter(({ word }) => word === 'COPY')
export const listOf = (word: string): readonly string[] =>
  JSON.parse(last?.instructions.find((each) => each.word === word)?.args ?? '[]')

/** Libraries that a program or library needs, from the loader's own words. */
const neededBy = (path: string): readonly string[] =>
  [...execFileSync('ldd', [path], { encoding: 'utf8' }).matchAll(/(?:=> |^\s*)(\/\S+) \(/gm)].map(([, at = '']) => at)

/** What a path of an earlier stage is here. */
function sourceOf(work: string, stage: string, path: string): string {
  if (stage === 'libbpf') return join(work, 'libs')
  if (path.startsWith('/native/')) return join(work, path)
  // Built beside, so that no other test sees a build come and go.
  if (path.startsWith('/src/build')) return join(work, 'build')
  return join(root, path.replace(/^\/src\//, ''))
}

function build(work: string): void {
  mkdirSync(join(work, 'libs'))
  const beside = neededBy(libbpf ?? '').filter((path) => /lib(elf|z|zstd)\./.test(path))
  for (const path of [libbpf ?? '', ...beside]) copyFileSync(path, join(work, 'libs', basename(path)))
  const modules = join(work, 'native/node_modules')
  cpSync(join(root, `node_modules/node-linux-${arch}/bin/node`), join(work, 'native/node'))
  for (const name of ['koffi', `@koromix/koffi-linux-${arch}`])
    cpSync(join(root, 'node_modules', name), join(modules, name), { recursive: true })
  // The build runs what it has made.
  symlinkSync(join(root, 'node_modules'), join(work, 'node_modules'))
  copyFileSync(join(root, 'package.json'), join(work, 'package.json'))
  buildProgram(join(work, 'build'))
  cpSync(dirname(buildBpf()), join(work, 'build/bpf'), { recursive: true })
}

/** Builds in `work`, and answers the folder that is the root of the image. */
export function layOutImage(work: string): string {
  const top = join(work, 'image')
  build(work)
  for (const { args } of copies()) {
    const [from = '', ...paths] = args.split(/\s+/)
    const target = join(top, paths.at(-1) ?? '')
    for (const path of paths.slice(0, -1)) {
      const source = sourceOf(work, from.replace('--from=', ''), path)
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
  return top
}
