/** helm, the real one: what HERALD_HELM names, else built from its Go module, once, as the API server is. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildGoTools, cacheFolder, type GoTools, requiredVersion } from '../go-build.ts'

const moduleFolder = fileURLToPath(new URL('.', import.meta.url))
const module = 'helm.sh/helm/v4'
const version = requiredVersion(moduleFolder, module)

const tools: GoTools = {
  moduleFolder,
  what: `helm ${version}`,
  cacheName: `helm-${version}`,
  stamps: [`${module}/internal/version.version=v${version}`],
  override: 'HERALD_HELM to a helm of version 3.18 or later',
}

/** Its path where it is there now, without building anything. */
export function presentHelm(): string | undefined {
  return [process.env['HERALD_HELM'], join(cacheFolder(tools), 'helm')].find(
    (path) => path !== undefined && existsSync(path),
  )
}

/** Finds or builds it; two minutes the first time. `reason` says why there is none. */
export async function ensureHelm(
  note: (text: string) => void,
  signal?: AbortSignal,
): Promise<{ readonly path: string } | { readonly reason: string }> {
  const present = presentHelm()
  if (present !== undefined) return { path: present }
  const reason = await buildGoTools(tools, note, signal)
  const path = presentHelm()
  return path === undefined ? { reason: reason ?? `go install left no helm in ${cacheFolder(tools)}` } : { path }
}
