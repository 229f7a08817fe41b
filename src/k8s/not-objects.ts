/** Documents that stand beside manifests and are none: what other programs make manifests of. Pure. */
import type { Remark } from './kinds/older.ts'
import { isRecord } from './source.ts'

/** Of kustomize: its file need not say what it is. */
export function isKustomization(value: unknown): boolean {
  if (!isRecord(value)) return false
  const { apiVersion, kind } = value
  if (apiVersion === undefined && kind === undefined)
    return ['resources', 'patches', 'components', 'bases'].some((key) => Array.isArray(value[key]))
  return typeof apiVersion === 'string' && apiVersion.startsWith('kustomize.config.k8s.io/')
}

/** By which kustomize makes other objects of the files. */
const changing = [
  ...['patches', 'patchesStrategicMerge', 'patchesJson6902', 'replacements', 'vars', 'transformers', 'components'],
  ...['namePrefix', 'nameSuffix', 'namespace', 'labels', 'commonLabels', 'commonAnnotations', 'helmCharts'],
]

/** The files are read as they are, which is not what their author has in mind where a Kustomization changes them. */
export function kustomizationRemark(value: unknown): Remark | undefined {
  const keys = isRecord(value) ? changing.filter((key) => value[key] !== undefined && value[key] !== null) : []
  const [first] = keys
  if (first === undefined) return undefined
  const message = `what kustomize makes of the files (${keys.join(', ')}) is not read, but the files as they are`
  return { path: [first], message, remedy: 'Give what `kubectl kustomize` prints.' }
}

/** Why a document is no object, where that can be told better than by what it lacks. */
export function knownStranger(value: unknown): Remark | undefined {
  const isPatch = (each: unknown): boolean => isRecord(each) && 'op' in each && 'path' in each
  if (Array.isArray(value) && value.length > 0 && value.every(isPatch))
    return { path: [], message: 'it is a patch (RFC 6902)', remedy: 'Give what `kubectl kustomize` prints.' }
  if (isRecord(value) && value['kind'] === undefined && 'version' in value && 'name' in value && 'apiVersion' in value)
    return { path: [], message: 'it is about a chart of Helm', remedy: 'Give what `helm template` prints.' }
  return undefined
}
