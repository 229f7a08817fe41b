/**
 * `npm run build`: the program as JavaScript below build/, as a release ships it, and the kernel programs.
 *
 *     src/herald.ts          -> build/herald.js       the agent, one file
 *     src/speaker/worker.ts  -> build/worker.js       its speaker's thread, one file
 *     src/cli/herald.ts      -> build/cli/herald.js   the command line; what only some verbs need lies in files beside it
 *     the bundled packages   -> build/LICENSES.txt    their licenses
 *
 * koffi is native and stays a package: Node finds it in the node_modules of this folder or of one above.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const external = ['koffi']

interface Program {
  readonly source: string
  readonly folder: string
  /** What is loaded late lies in files of its own; otherwise it is part of the one file, run when it is asked for. */
  readonly isSplit?: boolean
}

/** The agent last: bin/herald takes its time as that of the whole. */
const programs: readonly Program[] = [
  { source: 'src/speaker/worker.ts', folder: '' },
  { source: 'src/cli/herald.ts', folder: 'cli', isSplit: true },
  { source: 'src/herald.ts', folder: '' },
]

/** Bundles into `output`; answers the entry of the command line. */
export function buildProgram(output = join(root, 'build')): string {
  // Written beside and renamed: a program that starts meanwhile never reads half a file.
  const partial = join(output, `partial-${process.pid}`)
  try {
    const inputs = programs.flatMap((program) => bundle(program, partial))
    writeFileSync(join(partial, 'LICENSES.txt'), licensesOf(inputs))
    rmSync(join(output, 'cli'), { recursive: true, force: true })
    for (const name of ['worker.js', 'LICENSES.txt', 'cli', 'herald.js'])
      renameSync(join(partial, name), join(output, name))
  } finally {
    rmSync(partial, { recursive: true, force: true })
  }
  return join(output, 'cli/herald.js')
}

/** Answers the files that went in, relative to the root. */
function bundle({ source, folder, isSplit = false }: Program, output: string): string[] {
  const metafile = join(output, 'inputs.json')
  mkdirSync(join(output, folder), { recursive: true })
  execFileSync(
    process.execPath,
    [
      join(root, 'node_modules/esbuild/bin/esbuild'),
      source,
      '--bundle',
      '--platform=node',
      '--format=esm',
      '--target=node24',
      // Names and lines stay as they are: a stack trace can be read.
      '--minify-syntax',
      '--legal-comments=inline',
      '--log-level=warning',
      ...external.map((name) => `--external:${name}`),
      // Packages in CommonJS call require() for what Node brings.
      "--banner:js=import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
      '--entry-names=[name]',
      ...(isSplit ? ['--splitting'] : []),
      `--metafile=${metafile}`,
      `--outdir=${join(output, folder)}`,
    ],
    { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] },
  )
  const { inputs }: { readonly inputs: object } = JSON.parse(readFileSync(metafile, 'utf8'))
  rmSync(metafile)
  return Object.keys(inputs)
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
  const { buildBpf } = await import('./build-bpf.ts')
  console.log(buildProgram())
  console.log(buildBpf())
}
