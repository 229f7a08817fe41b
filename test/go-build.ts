/** Programs in Go that tests use, built from a go.mod of ours once and kept in a cache folder, by version. */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

const leastGo = [1, 26] as const

export interface GoTools {
  /** Where go.mod is, with a `tool` line for each program. */
  readonly moduleFolder: string
  /** Of what is built, for people. */
  readonly what: string
  /** Below the cache folder; has the versions in it. */
  readonly cacheName: string
  /** What go calls a program, where ours has another name. */
  readonly renamed?: Readonly<Record<string, string>>
  /** `-X` of the linker. */
  readonly stamps?: readonly string[]
  /** What to set to have the programs from elsewhere. */
  readonly override: string
}

/** The version that a go.mod requires of a module, without its `v`. */
export function requiredVersion(moduleFolder: string, module: string): string {
  const line = readFileSync(join(moduleFolder, 'go.mod'), 'utf8')
    .split('\n')
    .map((each) => each.trim().replace(/^require /, ''))
    .find((each) => each.startsWith(`${module} v`))
  return line?.slice(module.length + 2).split(' ')[0] ?? ''
}

export function cacheFolder({ cacheName }: GoTools): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'herald', cacheName)
}

/** Why nothing can be built here; undefined when it can. */
function buildObstacle({ override }: GoTools): string | undefined {
  try {
    const [, major, minor] = /go(\d+)\.(\d+)/.exec(execFileSync('go', ['env', 'GOVERSION'], { encoding: 'utf8' })) ?? []
    const isNew = Number(major) > leastGo[0] || (Number(major) === leastGo[0] && Number(minor) >= leastGo[1])
    return isNew ? undefined : `go ${leastGo.join('.')} is needed, this is ${major}.${minor}`
  } catch {
    return `go ${leastGo.join('.')} is not there; or set ${override}`
  }
}

/** Builds into the cache folder; some minutes. Answers why it could not; `signal` ends it. */
export async function buildGoTools(
  tools: GoTools,
  note: (text: string) => void,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const obstacle = buildObstacle(tools)
  if (obstacle !== undefined) return obstacle
  const folder = cacheFolder(tools)
  const partial = `${folder}.${process.pid}`
  mkdirSync(partial, { recursive: true })
  try {
    await goInstall(tools, partial, note, signal)
    for (const [name, ours] of Object.entries(tools.renamed ?? {})) renameSync(join(partial, name), join(partial, ours))
    rmSync(folder, { recursive: true, force: true })
    renameSync(partial, folder)
    return undefined
  } catch (error) {
    rmSync(partial, { recursive: true, force: true })
    return error instanceof Error ? error.message : String(error)
  }
}

function goInstall(
  { moduleFolder, what, stamps = [] }: GoTools,
  folder: string,
  note: (text: string) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const flags = ['-s', '-w', ...stamps.map((stamp) => `-X ${stamp}`)].join(' ')
  const args = ['install', '-v', '-trimpath', '-ldflags', flags, 'tool']
  const env = { ...process.env, CGO_ENABLED: '0', GOBIN: folder, GOFLAGS: '-mod=mod' }
  const stopping = signal === undefined ? {} : { signal }
  const child = spawn('go', args, { cwd: moduleFolder, env, stdio: ['ignore', 'ignore', 'pipe'], ...stopping })
  let words = ''
  let packages = 0
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-2000)
    packages += text.split('\n').length - 1
    note(`${what}: ${packages} Go packages`)
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) =>
      code === 0
        ? resolve()
        : reject(new Error(`go install ended with ${code}: ${words.trim().split('\n').at(-1) ?? ''}`)),
    )
  })
}
