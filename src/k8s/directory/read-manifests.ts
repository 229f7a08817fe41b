/** Files and folders read once, by the rules of the agent, with what of them is no input: for `herald validate`. */
import { realpathSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Problem } from '../../desired/model.ts'
import { isRelated, readDocuments } from '../documents.ts'
import { listFolder, unreadable } from './listing.ts'
import { decode, isFault, readBytes, type FileFault } from './manifest-file.ts'

export interface ReadManifests {
  readonly files: readonly { readonly name: string; readonly text: string }[]
  /** Of files and folders that cannot be read. */
  readonly problems: readonly Problem[]
  /** Names in folders that are no manifests, and links to what is read already. */
  readonly ignored: readonly string[]
  /** Folders in which there is nothing by the name of a manifest. */
  readonly empty: readonly string[]
}

/** Throws what the system says when a path itself is not there. */
export function readManifests(paths: readonly string[]): ReadManifests {
  const files: { readonly name: string; readonly text: string }[] = []
  const problems: Problem[] = []
  const ignored: string[] = []
  const empty: string[] = []
  const seen = new Set<string>()
  const take = (name: string, path: string, fault: FileFault | undefined): void => {
    const real = placeOf(path)
    // A folder and a file of it are named: it is one file.
    if (seen.has(real)) return
    seen.add(real)
    const read = fault ?? readText(path)
    if (typeof read === 'string') files.push({ name, text: read })
    else problems.push(problemOf(name, read))
  }
  for (const path of paths) {
    if (!statSync(path).isDirectory()) {
      take(path, path, undefined)
      continue
    }
    const steps = listFolder(path)
    let step = steps.next()
    while (step.done !== true) step = steps.next()
    const listing = step.value
    for (const [name, { path: file, fault }] of listing.files) take(join(path, name), file, fault)
    for (const [name, fault] of listing.faults) problems.push(problemOf(join(path, name), fault))
    ignored.push(...listing.ignored.map((name) => join(path, name)))
    if (listing.files.size + listing.faults.size === 0) empty.push(path)
  }
  return { files, problems, ignored, empty }
}

function placeOf(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    // Gone meanwhile, or a pipe: reading it says more.
    return path
  }
}

function readText(path: string): string | FileFault {
  try {
    const bytes = readBytes(path)
    return isFault(bytes) ? bytes : decode(bytes)
  } catch (error) {
    return unreadable(error)
  }
}

function problemOf(name: string, { code, message, line, column }: FileFault): Problem {
  const remedy = code === 'InvalidEncoding' ? 'Save it as UTF-8.' : 'The agent would read nothing of it.'
  const object = { kind: 'File', name, file: name, ...(line === undefined ? {} : { line }) }
  return { severity: 'error', object, field: '', code, message, remedy, ...(column === undefined ? {} : { column }) }
}

export interface Counted {
  readonly objects: number
  /** How many of each kind are passed over because they mean nothing to a load balancer. */
  readonly unread: ReadonlyMap<string, number>
}

export function countObjects(files: ReadManifests['files']): Counted {
  const unread = new Map<string, number>()
  let count = 0
  for (const { name, text } of files)
    for (const { objects } of readDocuments(name, text))
      for (const { key } of objects) {
        count++
        if (!isRelated(key)) unread.set(key.kind, (unread.get(key.kind) ?? 0) + 1)
      }
  return { objects: count, unread }
}
