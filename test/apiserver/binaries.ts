/**
 * etcd, kube-apiserver and kubectl, real ones: found as the field finds them, else built from their Go modules, once.
 *
 *     KUBEBUILDER_ASSETS -> our cache, by version -> go install (minutes) -> none: the reason
 */
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface Binaries {
  readonly etcd: string
  readonly apiserver: string
  readonly kubectl: string
  /** Of Kubernetes, as 1.36.1. */
  readonly version: string
}

const moduleFolder = fileURLToPath(new URL('.', import.meta.url))
/** Binaries of k8s.io/kubernetes and of etcd, whose program is called `server`. */
const built = { etcd: 'server', apiserver: 'kube-apiserver', kubectl: 'kubectl' } as const
const leastGo = [1, 26] as const

const version = /k8s\.io\/kubernetes v(\S+)/.exec(readFileSync(join(moduleFolder, 'go.mod'), 'utf8'))?.[1] ?? ''
const etcdVersion = /go\.etcd\.io\/etcd\/server\/v3 v(\S+)/.exec(
  readFileSync(join(moduleFolder, 'go.mod'), 'utf8'),
)?.[1]

function cacheFolder(): string {
  const base = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache')
  return join(base, 'herald', `kubernetes-${version}-etcd-${etcdVersion ?? ''}`)
}

/** Those that are there without building: undefined when some are missing. */
function found(folder: string): Binaries | undefined {
  const paths = {
    etcd: join(folder, 'etcd'),
    apiserver: join(folder, 'kube-apiserver'),
    kubectl: join(folder, 'kubectl'),
  }
  return Object.values(paths).every((path) => existsSync(path)) ? { ...paths, version } : undefined
}

/** What is there now, without building anything. */
export function presentBinaries(): Binaries | undefined {
  const assets = process.env['KUBEBUILDER_ASSETS']
  return (assets === undefined ? undefined : found(assets)) ?? found(cacheFolder())
}

/** Why nothing can be built here; undefined when it can. */
export function buildObstacle(): string | undefined {
  try {
    const [, major, minor] = /go(\d+)\.(\d+)/.exec(execFileSync('go', ['env', 'GOVERSION'], { encoding: 'utf8' })) ?? []
    const isNew = Number(major) > leastGo[0] || (Number(major) === leastGo[0] && Number(minor) >= leastGo[1])
    return isNew ? undefined : `go ${leastGo.join('.')} is needed, this is ${major}.${minor}`
  } catch {
    return `go ${leastGo.join('.')} is not there; or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, kubectl`
  }
}

/** Finds or builds them; some minutes the first time. `note` hears what is going on. */
export async function ensureBinaries(note: (text: string) => void): Promise<Binaries | string> {
  const present = presentBinaries()
  if (present !== undefined) return present
  const obstacle = buildObstacle()
  if (obstacle !== undefined) return obstacle
  const folder = cacheFolder()
  const partial = `${folder}.${process.pid}`
  mkdirSync(partial, { recursive: true })
  try {
    await goInstall(partial, note)
    renameSync(join(partial, built.etcd), join(partial, 'etcd'))
    rmSync(folder, { recursive: true, force: true })
    renameSync(partial, folder)
  } catch (error) {
    rmSync(partial, { recursive: true, force: true })
    return error instanceof Error ? error.message : String(error)
  }
  return found(folder) ?? `go install left no binaries in ${folder}`
}

function goInstall(folder: string, note: (text: string) => void): Promise<void> {
  const [major, minor] = version.split('.')
  const stamp = 'k8s.io/component-base/version'
  const stamps = [`gitVersion=v${version}`, `gitMajor=${major}`, `gitMinor=${minor}`].map(
    (value) => `-X ${stamp}.${value}`,
  )
  const args = ['install', '-v', '-trimpath', '-ldflags', ['-s', '-w', ...stamps].join(' '), 'tool']
  const env = { ...process.env, CGO_ENABLED: '0', GOBIN: folder, GOFLAGS: '-mod=mod' }
  const child = spawn('go', args, { cwd: moduleFolder, env, stdio: ['ignore', 'ignore', 'pipe'] })
  let words = ''
  let packages = 0
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-2000)
    packages += text.split('\n').length - 1
    note(`kube-apiserver ${version}, etcd ${etcdVersion ?? ''}: ${packages} Go packages`)
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
