/** Runs the real helm on the chart; its words are the error. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'
import { presentHelm } from '../helm/binary.ts'

export const chart = fileURLToPath(new URL('../../charts/herald/', import.meta.url))
const path = presentHelm()
export const skip = path === undefined ? 'no helm here (see test/helm/binary.ts)' : false

const home = mkdtempSync(join(tmpdir(), 'herald-helm-'))
process.once('exit', () => rmSync(home, { recursive: true, force: true }))

export function helm(...args: readonly string[]): Promise<string> {
  const env = {
    ...process.env,
    HELM_CACHE_HOME: join(home, 'cache'),
    HELM_CONFIG_HOME: join(home, 'config'),
    HELM_DATA_HOME: join(home, 'data'),
  }
  return new Promise((resolve, reject) => {
    execFile(path ?? 'helm', [...args], { env, maxBuffer: 64 * 2 ** 20 }, (error, stdout, stderr) =>
      error === null ? resolve(stdout) : reject(new Error(`helm ${args[0]}: ${stderr.trim()}`)),
    )
  })
}

export type Manifest = Readonly<Record<string, unknown>> & {
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> }
}

/** What the chart makes of values, without a cluster. */
export async function render(...args: readonly string[]): Promise<readonly Manifest[]> {
  return objectsOf(await helm('template', 'herald', chart, '--namespace', 'herald-system', ...args))
}

export function objectsOf(manifests: string): readonly Manifest[] {
  return parseAllDocuments(manifests).flatMap((document) => {
    const [fault] = document.errors
    if (fault !== undefined) throw fault
    const object: Manifest | null = document.toJS()
    return object === null ? [] : [object]
  })
}

export const nameOf = ({ kind, metadata: { name, namespace } }: Manifest): string =>
  `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`

/** The one object of a kind, or of a kind and a part of its name. */
export function only(objects: readonly Manifest[], kind: string, part = ''): Manifest {
  const found = objects.filter((object) => object.kind === kind && object.metadata.name.includes(part))
  const [first] = found
  if (first === undefined || found.length > 1) throw new Error(`${found.length} of ${kind} ${part}`)
  return first
}
