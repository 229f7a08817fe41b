/**
 * Compiles the kernel programs: {src/datapath,bench}/bpf/<name>.bpf.c -> build/bpf/<name>.bpf.o. Run by `npm run bpf`,
 * the lab
 * and the tests.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { HeraldError, messageOf } from '../src/errors.ts'
import { takeNoArguments } from './setup/arguments.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
/** The datapath, and the programs of the benchmarks, which use its headers. */
const sourceFolders = [join(root, 'src/datapath/bpf'), join(root, 'bench/bpf')]
const outputFolder = join(root, 'build/bpf')
/** The programs of the datapath. */
export const datapathSource = join(root, 'src/datapath/bpf/herald.bpf.c')

/**
 * Compiles what is older than its sources and returns the path of herald.bpf.o. Throws ERR_BPF_OBJECT_MISSING with
 * clang's words.
 */
export function buildBpf(): string {
  mkdirSync(outputFolder, { recursive: true })
  const sources = sourceFolders.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
  const newest = Math.max(...sources.map((path) => statSync(path).mtimeMs))
  for (const source of sources.filter((path) => path.endsWith('.bpf.c'))) {
    const output = join(outputFolder, basename(source).replace(/\.c$/, '.o'))
    if (!existsSync(output) || statSync(output).mtimeMs < newest) compileBpf(source, output)
  }
  return join(outputFolder, 'herald.bpf.o')
}

/** Debian keeps asm/ in a folder per architecture, which clang does not search for the bpf target. */
function includeFolders(): string[] {
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64'
  return [`/usr/include/${machine}-linux-gnu`]
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => ['-idirafter', folder])
}

/** Throws ERR_BPF_OBJECT_MISSING with clang's words. */
export function compileBpf(source: string, output: string): void {
  // Written beside and renamed: two builds at the same time never load half an object.
  const partial = `${output}.${process.pid}`
  const flags = ['-target', 'bpf', '-mcpu=v3', '-O2', '-g', '-Wall', '-Wextra', '-Werror']
  try {
    execFileSync('clang', [...flags, ...includeFolders(), '-c', source, '-o', partial], {
      stdio: ['ignore', 'pipe', 'pipe'],
      encoding: 'utf8',
    })
  } catch (error) {
    throw new HeraldError('ERR_BPF_OBJECT_MISSING', `clang could not compile ${source}: ${messageOf(error)}`, {
      cause: error,
    })
  }
  renameSync(partial, output)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  takeNoArguments('npm run bpf')
  console.log(buildBpf())
}
