/**
 * `npm run build`: the program as JavaScript below build/, as a release ships it, and the kernel programs.
 *
 *     src/start.ts           -> build/start.cjs       what is started: it runs the next two, each in its thread
 *     src/herald.ts          -> build/herald.cjs      the agent, one file
 *     src/speaker/worker.ts  -> build/worker.cjs      its speaker's thread, one file
 *     src/flows/flow-worker.ts -> build/flow-worker.cjs   the thread that reads flow events, one file
 *     src/bfd/thread/bfd-worker.ts -> build/bfd-worker.cjs   the thread that watches paths by BFD, one file
 *     src/cli/daemon.ts      -> build/daemon.cjs      what reads the words of agent and operator, and is let go of
 *     src/k8s/apiserver/connect.ts -> build/apiserver.cjs   what only an agent with an API server reads
 *                               build/*.cjs.code      what the engine made of these files (scripts/code.ts)
 *     src/cli/herald.ts      -> build/cli/herald.js   the command line; what few verbs need lies beside it
 *     the bundled packages   -> build/LICENSES.txt    their licenses
 *
 * koffi is native and stays a package: Node finds it in the node_modules of this folder or of one above.
 */
import { execFileSync } from 'node:child_process'
import { hash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BuildOptions } from 'esbuild'
import { takeNoArguments } from './setup/arguments.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const external = ['koffi']

interface Program {
  readonly source: string
  readonly folder: string
  readonly options: BuildOptions
}

/**
 * What lives long is CommonJS: an ES module that imports node:http makes Node load its whole fetch, 14 MB. What is
 * loaded late is part of the one file and runs when it is asked for.
 */
const longLived: BuildOptions = {
  format: 'cjs',
  outExtension: { '.js': '.cjs' },
  define: { 'import.meta.url': 'fileUrl' },
  banner: { js: "const fileUrl = require('node:url').pathToFileURL(__filename).href;" },
}
/** What is loaded late lies in files of its own. Packages in CommonJS call require() for what Node brings. */
const split: BuildOptions = {
  format: 'esm',
  splitting: true,
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
}

const programs: readonly Program[] = [
  { source: 'src/speaker/worker.ts', folder: '', options: longLived },
  { source: 'src/flows/flow-worker.ts', folder: '', options: longLived },
  { source: 'src/bfd/thread/bfd-worker.ts', folder: '', options: longLived },
  { source: 'src/cli/daemon.ts', folder: '', options: longLived },
  { source: 'src/k8s/apiserver/connect.ts', folder: '', options: { ...longLived, entryNames: 'apiserver' } },
  { source: 'src/cli/herald.ts', folder: 'cli', options: split },
  { source: 'src/start.ts', folder: '', options: longLived },
  { source: 'src/herald.ts', folder: '', options: longLived },
]

/** Bundles into `output`; answers the entry of the command line. */
export function buildProgram(output = join(root, 'build')): string {
  // Written beside and renamed: a program that starts meanwhile never reads half a file.
  const partial = join(output, `partial-${process.pid}`)
  try {
    const inputs = programs.flatMap((program) => bundle(program, partial))
    writeFileSync(join(partial, 'LICENSES.txt'), licensesOf(inputs))
    keepCode(partial)
    rmSync(join(output, 'cli'), { recursive: true, force: true })
    // bin/herald takes the time of the agent's as that of the whole.
    const names = readdirSync(partial).filter((name) => name !== 'herald.cjs')
    for (const name of [...names, 'herald.cjs']) renameSync(join(partial, name), join(output, name))
  } finally {
    rmSync(partial, { recursive: true, force: true })
  }
  return join(output, 'cli/herald.js')
}

/** Answers the files that went in, relative to the root. */
function bundle({ source, folder, options }: Program, output: string): string[] {
  const metafile = join(output, 'inputs.json')
  mkdirSync(join(output, folder), { recursive: true })
  const whole: BuildOptions = {
    entryPoints: [source],
    bundle: true,
    platform: 'node',
    target: 'node24',
    // Names and lines stay as they are: a stack trace can be read.
    minifySyntax: true,
    legalComments: 'none',
    logLevel: 'warning',
    external: [...external],
    entryNames: '[name]',
    ...options,
    outdir: join(output, folder),
  }
  runScript('scripts/bundle.ts', JSON.stringify(whole), metafile)
  const { inputs }: { readonly inputs: object } = JSON.parse(readFileSync(metafile, 'utf8'))
  rmSync(metafile)
  for (const name of readdirSync(join(output, folder)).filter((file) => /\.c?js$/.test(file)))
    toAscii(join(output, folder, name))
  return Object.keys(inputs)
}

/** The program is the same without: it starts later. */
function keepCode(folder: string): void {
  try {
    runScript('scripts/code.ts', folder)
  } catch {
    console.error('the agent could not be run here, see above: what is built is compiled whenever it starts')
  }
}

function runScript(script: string, ...words: readonly string[]): void {
  const stdio = ['ignore', 'inherit', 'inherit'] as const
  execFileSync(process.execPath, [join(root, script), ...words], { cwd: root, stdio: [...stdio] })
}

/** Comments are all that still has other characters, and one of them makes the engine hold the file as UTF-16. */
function toAscii(file: string): void {
  const text = readFileSync(file, 'utf8')
  const inAscii = (comment: string): string => comment.replace(/[^\x00-\x7f]/g, '?')
  const ascii = text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, inAscii)
  // The last line says which build it is: what the engine made of it is of this one (src/sys/parts.ts).
  writeFileSync(file, `${ascii}// build ${hash('sha256', ascii)}\n`)
}

/** What the licenses of the packages among `inputs` want shown. */
function licensesOf(inputs: readonly string[]): string {
  const names = new Set(
    inputs.flatMap((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules)/.exec(path)?.[1] ?? []),
  )
  return [...names]
    .sort()
    .map(licenseOf)
    .join(`\n${'-'.repeat(80)}\n\n`)
}

function licenseOf(name: string): string {
  const folder = join(root, 'node_modules', name)
  const { version, license }: Readonly<Record<string, unknown>> = JSON.parse(
    readFileSync(join(folder, 'package.json'), 'utf8'),
  )
  const texts = readdirSync(folder)
    .filter((file) => /^(licen[cs]e|notice|copying)/i.test(file))
    .map((file) => readFileSync(join(folder, file), 'utf8').trim())
  return `${name} ${String(version)} (${String(license)})\n\n${texts.join('\n\n')}\n`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  takeNoArguments('npm run build')
  const { buildBpf } = await import('./build-bpf.ts')
  console.log(buildProgram())
  console.log(buildBpf())
}
