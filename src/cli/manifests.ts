/** Files and folders of manifests, for the verbs that read them; the reader is loaded late. */
import { HeraldError, messageOf } from '../errors.ts'
import type { ReadManifests } from '../k8s/directory/read-manifests.ts'

/** Throws ERR_USAGE where a path itself cannot be read. */
export async function readFound(paths: readonly string[]): Promise<ReadManifests> {
  const { readManifests } = await import('../k8s/directory/read-manifests.ts')
  try {
    return readManifests(paths)
  } catch (error) {
    throw new HeraldError('ERR_USAGE', `cannot read the manifests: ${messageOf(error)}`, { cause: error })
  }
}
