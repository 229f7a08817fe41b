/** Edits the lab's copy of the manifests the way the cluster would: an endpoint leaves, a Service is deleted. */
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isMap, isSeq, parseAllDocuments, type Document } from 'yaml'

/**
 * Writes beside and renames, so that no reader meets half a file. A leading dot keeps the partial file out of the
 * input.
 */
function replaceFile(path: string, text: string): void {
  const partial = path.replace(/([^/]+)$/, '.$1.partial')
  writeFileSync(partial, text)
  renameSync(partial, path)
}

function documentsOf(path: string): Document[] {
  return parseAllDocuments(readFileSync(path, 'utf8')).flatMap((document) =>
    'toString' in document && 'contents' in document ? [document as Document] : [],
  )
}

/**
 * Removes a pod's endpoints from every EndpointSlice, as the control plane does when the pod is gone. Answers how to
 * undo it.
 */
export function removePod(folder: string, pod: string): () => void {
  const undo: (() => void)[] = []
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.yaml'))) {
    const path = join(folder, name)
    const before = readFileSync(path, 'utf8')
    const documents = documentsOf(path)
    let isChanged = false
    for (const document of documents.filter((each) => each.get('kind') === 'EndpointSlice')) {
      const endpoints = document.get('endpoints', true)
      if (!isSeq(endpoints)) continue
      const kept = endpoints.items.filter((item) => !isMap(item) || item.getIn(['targetRef', 'name']) !== pod)
      isChanged ||= kept.length < endpoints.items.length
      endpoints.items = kept
    }
    if (!isChanged) continue
    replaceFile(path, documents.map(String).join(''))
    undo.push(() => replaceFile(path, before))
  }
  return () => undo.forEach((restore) => restore())
}

/** Deletes a file of manifests. Answers how to undo it. */
export function removeFile(folder: string, name: string): () => void {
  const path = join(folder, name)
  const before = readFileSync(path, 'utf8')
  rmSync(path)
  return () => replaceFile(path, before)
}
