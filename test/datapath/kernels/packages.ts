/**
 * Kernels of the distribution's packages, and what loads a profile into one, unpacked into a cache and never installed:
 * `apt-get download`, `dpkg-deb`. Another kernel is another row.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'

interface Row {
  /** The version that Debian 12 has by this name. */
  readonly name: string
  /** Depends on the package of the kernel itself. */
  readonly metaPackage: string
}

const rows: readonly Row[] = [
  { name: '6.1', metaPackage: 'linux-image-cloud-amd64' },
  { name: '6.12', metaPackage: 'linux-image-6.12-cloud-amd64' },
]

export interface Kernel {
  readonly name: string
  /** As `uname -r`. */
  readonly release: string
  readonly image: string
  /** Below it is kernel/, with modules that are not compressed. */
  readonly modules: string
}

/** Installed, it would put profiles of its own around the programs of this machine. */
const parserPackage = 'apparmor'

const cache = (): string => join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'herald', 'kernels')

/** What is there now by name, without asking anybody; a reason for each that is not. */
export function presentKernels(): readonly { readonly name: string; readonly found: Kernel | string }[] {
  return rows.map((row) => {
    const release = releaseIn(join(cache(), row.metaPackage))
    const where = release === undefined ? undefined : join(cache(), row.metaPackage)
    return {
      name: row.name,
      found:
        where === undefined || release === undefined
          ? `the package ${row.metaPackage} is not there; \`npm test -- datapath\` fetches it with apt-get`
          : {
              name: row.name,
              release,
              image: join(where, `boot/vmlinuz-${release}`),
              modules: join(where, 'lib/modules', release),
            },
    }
  })
}

/** The program that compiles a profile of AppArmor; a reason where it is not there. */
export function presentParser(): { readonly path: string } | string {
  const path = join(cache(), parserPackage, 'sbin/apparmor_parser')
  return existsSync(path)
    ? { path }
    : `the package ${parserPackage} is not there; \`npm test -- datapath\` fetches it with apt-get`
}

function releaseIn(folder: string): string | undefined {
  const modules = join(folder, 'lib/modules')
  return existsSync(modules) ? readdirSync(modules)[0] : undefined
}

/** Fetches what is missing or older than what apt knows. Answers with what there is, and why not the rest. */
export function ensureKernels(note: (text: string) => void): readonly (Kernel | string)[] {
  if (process.arch !== 'x64') return [`virtual machines of other kernels are made on amd64 only`]
  const kernels = rows.map((row) => {
    const reason = reasonOf(() => {
      const wanted = kernelPackage(row.metaPackage) ?? afterUpdate(row.metaPackage)
      if (wanted === undefined) throw new Error(`apt knows no package ${row.metaPackage}`)
      fetch(row.metaPackage, wanted, note)
    })
    const found = presentKernels().find(({ name }) => name === row.name)?.found ?? ''
    return typeof found === 'string' ? `Linux ${row.name}: ${reason === '' ? found : reason}` : found
  })
  // Asked for after them: by then apt has its lists.
  const whyNoParser = reasonOf(() => fetch(parserPackage, newest(parserPackage), note))
  return whyNoParser === '' ? kernels : [...kernels, `AppArmor: ${whyNoParser}`]
}

/** Why something could not be had; empty where it was. */
function reasonOf(get: () => void): string {
  try {
    get()
    return ''
  } catch (error) {
    return error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)
  }
}

/** Unpacks a package, as apt takes it, unless it is there. */
function fetch(name: string, wanted: string, note: (text: string) => void): void {
  const folder = join(cache(), name)
  const stamp = join(folder, 'package')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  note(wanted)
  mkdirSync(dirname(folder), { recursive: true })
  const partial = mkdtempSync(`${folder}-`)
  try {
    execFileSync('apt-get', ['-qq', '-o', 'Acquire::Retries=3', 'download', wanted], {
      cwd: partial,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const [file = ''] = readdirSync(partial)
    execFileSync('dpkg-deb', ['-x', join(partial, file), partial], { stdio: ['ignore', 'ignore', 'pipe'] })
    rmSync(join(partial, file))
    unpackModules(partial)
    writeFileSync(join(partial, 'package'), wanted)
    rmSync(folder, { recursive: true, force: true })
    renameSync(partial, folder)
  } finally {
    rmSync(partial, { recursive: true, force: true })
  }
}

/** Name and version as apt takes them; undefined when it knows none. */
function kernelPackage(metaPackage: string): string | undefined {
  const { stdout } = spawnSync('apt-cache', ['show', '--no-all-versions', metaPackage], { encoding: 'utf8' })
  const [, name, version] = /^Depends:.*?\b(linux-image-\S+) \(= ([^)]+)\)/m.exec(stdout ?? '') ?? []
  return name === undefined ? undefined : `${name}=${version}`
}

/** A machine on which nothing was missing may have no lists of packages. */
function afterUpdate(metaPackage: string): string | undefined {
  spawnSync('apt-get', ['-qq', '-o', 'Acquire::Retries=3', 'update'], { stdio: 'ignore' })
  return kernelPackage(metaPackage)
}

/** A package by its version; what apt does not know is fetched, or refused, by its name. */
function newest(name: string): string {
  const { stdout } = spawnSync('apt-cache', ['policy', name], { encoding: 'utf8' })
  const [, version] = /^ *Candidate: (\d\S*)$/m.exec(stdout ?? '') ?? []
  return version === undefined ? name : `${name}=${version}`
}

/** The loader of the machine reads them as they are. */
function unpackModules(folder: string): void {
  if (!existsSync(join(folder, 'lib/modules'))) return
  const packed = readdirSync(join(folder, 'lib/modules'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ko.xz'))
    .map((path) => join(folder, 'lib/modules', path))
  if (packed.length > 0) execFileSync('xz', ['--decompress', ...packed])
}
