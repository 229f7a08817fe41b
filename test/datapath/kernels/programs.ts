/**
 * What a machine runs: Node, what the tests call, the compiled kernel programs, and the test files, each with all that
 * it imports in one file, so that an emulated processor has few to read and no types to strip.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'
import { buildBpf } from '../../../scripts/build-bpf.ts'
import type { Entry } from './archive.ts'

const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))))
/** Where the checkout is in a machine. */
export const guestRoot = '/herald'
const commands = ['ip', 'tc', 'nsenter', 'sysctl', 'ping']

/** The files of programs and libraries, each at its own place, programs also by `/bin`; with `more` by their names. */
export function programFiles(more: Readonly<Record<string, string>> = {}): readonly Entry[] {
  const node = { path: '/bin/node', content: { file: process.execPath } }
  const all = [...commands.map((name) => [name, whereIs(name)] as const), ...Object.entries(more)]
  const others = all.map(([name, file]) => ({ path: `/bin/${name}`, content: { file } }))
  const koffi = ['koffi', '@koromix/koffi-linux-x64'].flatMap((name) =>
    filesBelow(`node_modules/${name}`, /\.(js|cjs|json|node)$/),
  )
  const libbpf = libraryPath('libbpf.so.1')
  const programs = [node, ...others].map(({ content: { file } }) => file)
  const native = koffi.flatMap(({ content }) =>
    'file' in content && /linux_x64.*\.node$/.test(content.file) ? [content.file] : [],
  )
  const libraries = new Set([libbpf, ...[...programs, ...native, libbpf].flatMap(librariesOf)])
  // With their sources, older than they are: nothing is compiled there.
  const objects = [dirname(buildBpf()), join(root, 'src/datapath/bpf'), join(root, 'bench/bpf')].flatMap((folder) =>
    readdirSync(folder).map((name) => join(folder, name)),
  )
  return [
    node,
    ...others,
    ...koffi,
    ...[...libraries].map((file) => ({ path: file, content: { file } })),
    ...objects.map(inCheckout),
  ]
}

const inCheckout = (file: string): Entry => ({ path: join(guestRoot, relative(root, file)), content: { file } })

function filesBelow(folder: string, pattern: RegExp): readonly Entry[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => pattern.test(name) && !/musl|^vendor|^lib/.test(name))
    .map((name) => inCheckout(join(root, folder, name)))
}

export function whereIs(name: string): string {
  return execFileSync('sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin command -v ${name}`], { encoding: 'utf8' }).trim()
}

function libraryPath(name: string): string {
  const known = execFileSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' })
  return new RegExp(`^\\s*${name} \\(libc6,x86-64\\) => (.*)$`, 'm').exec(known)?.[1] ?? name
}

/** `\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)`, `\t/lib64/ld-linux-x86-64.so.2 (0x...)` */
function librariesOf(file: string): readonly string[] {
  const lines = execFileSync('ldd', [file], { encoding: 'utf8' })
  return [...lines.matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path)
}

/** Each file at its own place in the checkout, with another ending. */
export const bundled = (path: string): string => path.replace(/\.ts$/, '.mjs')

/** Bundles these files of the checkout, by their paths in it, into `output`. */
export async function bundleTests(files: readonly string[], output: string): Promise<readonly Entry[]> {
  await build({
    entryPoints: files.map((file) => join(root, file)),
    outbase: root,
    outdir: output,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    logLevel: 'error',
    external: ['koffi'],
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    plugins: [places],
  })
  return files.map((file) => ({ path: join(guestRoot, bundled(file)), content: { file: join(output, bundled(file)) } }))
}

/** What a file takes for its own place is where it would be in the checkout; what it starts is a bundle as well. */
const places: Plugin = {
  name: 'places',
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/, namespace: 'file' }, ({ path, suffix }) => {
      const url = JSON.stringify(`file://${join(guestRoot, relative(root, path))}${suffix}`)
      const contents = readFileSync(path, 'utf8')
        .replaceAll(/new URL\('((?:\.\/)?[\w.-]+)\.ts', import\.meta\.url\)/g, "new URL('$1.mjs', import.meta.url)")
        .replaceAll('import.meta.url', url)
      return { contents, loader: 'ts' }
    })
  },
}
