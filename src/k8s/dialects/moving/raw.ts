/** Fields of objects that nothing else here reads; nothing is trusted. Pure. */
import type { FoundObject } from './report.ts'

type Step = string | number

export function at(value: unknown, ...path: readonly Step[]): unknown {
  let found = value
  for (const step of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, step)) return undefined
    found = Reflect.get(found, step)
  }
  return found
}

export function textAt(value: unknown, ...path: readonly Step[]): string {
  const found = at(value, ...path)
  return typeof found === 'string' ? found : ''
}

export function listAt(value: unknown, ...path: readonly Step[]): readonly unknown[] {
  const found = at(value, ...path)
  return Array.isArray(found) ? found : []
}

export function textsAt(value: unknown, ...path: readonly Step[]): readonly string[] {
  return listAt(value, ...path).filter((each) => typeof each === 'string')
}

/** Whether it is of this kind and group, in whatever version. */
export function isOf({ key: { apiVersion, kind } }: FoundObject, group: string, wanted: string): boolean {
  const slash = apiVersion.indexOf('/')
  return kind === wanted && (slash < 0 ? '' : apiVersion.slice(0, slash)) === group
}

/** A container of a pod template, as far as it tells what a pod is. */
export interface Container {
  readonly name: string
  readonly image: string
  readonly words: readonly string[]
  readonly env: ReadonlyMap<string, string>
}

export function containersOf({ object }: FoundObject): readonly Container[] {
  return listAt(object, 'spec', 'template', 'spec', 'containers').map((each) => ({
    name: textAt(each, 'name'),
    image: textAt(each, 'image'),
    words: [...textsAt(each, 'command'), ...textsAt(each, 'args')],
    env: new Map(listAt(each, 'env').map((entry) => [textAt(entry, 'name'), textAt(entry, 'value')])),
  }))
}

/** The value of `--flag=value` or `--flag value`; empty for a flag alone; undefined without it. */
export function flagOf({ words }: Container, flag: string): string | undefined {
  const index = words.findIndex((word) => word === flag || word.startsWith(`${flag}=`))
  const word = words[index]
  if (word === undefined) return undefined
  if (word.includes('=')) return word.slice(flag.length + 1)
  const next = words[index + 1] ?? ''
  return next.startsWith('-') ? '' : next
}
