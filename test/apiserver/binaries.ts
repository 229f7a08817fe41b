/**
 * etcd, kube-apiserver and kubectl, real ones: found as the field finds them, else built from their Go modules, once.
 *
 *     KUBEBUILDER_ASSETS -> our cache, by version -> go install (minutes) -> none: the reason
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildGoTools, cacheFolder, type GoTools, requiredVersion } from '../go-build.ts'

export interface Binaries {
  readonly etcd: string
  readonly apiserver: string
  readonly kubectl: string
  /** Of Kubernetes, as 1.36.1. */
  readonly version: string
}

const moduleFolder = fileURLToPath(new URL('.', import.meta.url))
const version = requiredVersion(moduleFolder, 'k8s.io/kubernetes')
const etcdVersion = requiredVersion(moduleFolder, 'go.etcd.io/etcd/server/v3')
const [major, minor] = version.split('.')

const tools: GoTools = {
  moduleFolder,
  what: `kube-apiserver ${version}, etcd ${etcdVersion}`,
  cacheName: `kubernetes-${version}-etcd-${etcdVersion}`,
  renamed: { server: 'etcd' },
  stamps: [`gitVersion=v${version}`, `gitMajor=${major}`, `gitMinor=${minor}`].map(
    (value) => `k8s.io/component-base/version.${value}`,
  ),
  override: 'KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, kubectl',
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
  return (assets === undefined ? undefined : found(assets)) ?? found(cacheFolder(tools))
}

/** Finds or builds them; some minutes the first time. `note` hears what is going on. */
export async function ensureBinaries(note: (text: string) => void, signal?: AbortSignal): Promise<Binaries | string> {
  const present = presentBinaries()
  if (present !== undefined) return present
  const obstacle = await buildGoTools(tools, note, signal)
  return obstacle ?? presentBinaries() ?? `go install left no binaries in ${cacheFolder(tools)}`
}
