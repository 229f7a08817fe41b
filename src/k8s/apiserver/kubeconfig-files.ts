/** What is in a kubeconfig; and of several, as KUBECONFIG may name them, which of them a context is in. */
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { HeraldError, messageOf } from '../../errors.ts'
import { type RawObject, recordOf, textOf } from '../source.ts'

export interface ContextPlace {
  /** undefined: the service account of the pod. */
  readonly path: string | undefined
  readonly context: string | undefined
}

/**
 * As kubectl merges them: the first file that says which context is current decides, and of a context the first that
 * has it. Its cluster and its user are looked for beside it. Throws ERR_KUBECONFIG.
 */
export function placeOfContext(paths: readonly string[], wanted: string | undefined): ContextPlace {
  const [only] = paths
  if (paths.length < 2) return { path: only, context: wanted }
  const files = paths.map((path) => ({ path, config: contentOf(path) }))
  const current = files.map(({ config }) => textOf(config['current-context'])).find((name) => name !== '')
  const context = wanted ?? current
  const found = files.find(({ config: { contexts } }) =>
    (Array.isArray(contexts) ? contexts : []).some((each) => recordOf(each)['name'] === context),
  )
  if (found === undefined) {
    const what = context === undefined ? 'none of them says which context is current' : `none has a context ${context}`
    throw new HeraldError('ERR_KUBECONFIG', `${paths.join(', ')}: ${what}`)
  }
  return { path: found.path, context }
}

/** As kubectl reads it, merge keys and all, which the client passes over. Throws what reading and parsing throw. */
export function kubeconfigIn(path: string): RawObject {
  return recordOf(parse(readFileSync(path, 'utf8'), { merge: true }))
}

function contentOf(path: string): RawObject {
  try {
    return kubeconfigIn(path)
  } catch (error) {
    throw new HeraldError('ERR_KUBECONFIG', `${path} cannot be read: ${messageOf(error)}`, { cause: error })
  }
}
