/** Files and folders of manifests, for the verbs that read them; the reader is loaded late. */
import { HeraldError, messageOf } from '../errors.ts'
import type { ReadManifests } from '../k8s/directory/read-manifests.ts'

/**
 * Throws ERR_USAGE where a path itself cannot be read, or is of a file system that does not answer; and where there is
 * nothing to read in it, as kubectl has it: whoever relies on the answer gave another path than he meant.
 */
export async function readFound(paths: readonly string[]): Promise<ReadManifests> {
  const { readManifests } = await import('../k8s/directory/read-manifests.ts')
  const { knock, silentMs } = await import('../k8s/directory/knock.ts')
  for (const path of paths) {
    // What is read next holds this thread, for as long as the server of the file system is away.
    const hasAnswered = await Promise.race([knock([path]).then(() => true), after(silentMs)])
    if (hasAnswered) continue
    const message = `the file system of ${path} has not answered for ${silentMs / 1_000} s`
    throw new HeraldError('ERR_USAGE', `cannot read the manifests: ${message}`)
  }
  const read = readAll(paths, readManifests)
  const [empty] = read.empty
  if (empty !== undefined)
    throw new HeraldError('ERR_USAGE', `nothing was read: ${empty} has no file that ends in .yaml, .yml or .json`)
  return read
}

/** For who looked into all documents and found none. */
export function nothingRead(paths: readonly string[]): HeraldError {
  return new HeraldError('ERR_USAGE', `nothing was read: there is no object in ${paths.join(', ')}`)
}

function readAll(paths: readonly string[], read: (paths: readonly string[]) => ReadManifests): ReadManifests {
  try {
    return read(paths)
  } catch (error) {
    throw new HeraldError('ERR_USAGE', `cannot read the manifests: ${messageOf(error)}`, { cause: error })
  }
}

function after(ms: number): Promise<false> {
  return new Promise((resolve) => void setTimeout(resolve, ms, false).unref())
}
