/** What `herald validate` says about manifests: each object by itself, with line and column. Pure. */
import type { Problem } from '../desired/model.ts'
import { readDocuments } from './documents.ts'
import { isServed, notServed, parserOf } from './kinds/table.ts'
import { problemOf } from './kinds/problems.ts'

export interface ManifestText {
  readonly name: string
  readonly text: string
}

/** Problems in order of files and lines; empty when all is well. */
export function validateManifests(files: readonly ManifestText[]): readonly Problem[] {
  return files.flatMap(({ name, text }) =>
    readDocuments(name, text).flatMap(({ problems, objects }) => [
      ...problems,
      ...objects.flatMap(({ key, object, origin }) => {
        const faults = isServed(key) ? parserOf(key.kind)(object).faults : notServed(key)
        return faults.map((fault) => problemOf(fault, key, origin))
      }),
    ]),
  )
}
