/**
 * What `herald validate` says about manifests: what the agent of each node would say, by the same translation, with
 * line and column. Without a Node among them all configuration is judged as if it was for this node, and where only one
 * object can be, each by itself. Pure.
 */
import type { Problem } from '../desired/model.ts'
import { rivalKinds } from './dialects/table.ts'
import { isRelated, readDocuments, type ManifestObject } from './documents.ts'
import { withoutDuplicates } from './duplicates.ts'
import { isServed } from './kinds/table.ts'
import { createTranslator } from './translate/translator.ts'

export interface ManifestText {
  readonly name: string
  readonly text: string
}

export interface ValidateOptions {
  /** The one node to judge for; by default every Node of the manifests. */
  readonly nodeName?: string
  readonly secretsNamespace?: string
}

/** Problems in order of files and lines; empty when all is well. */
export function validateManifests(files: readonly ManifestText[], options: ValidateOptions = {}): readonly Problem[] {
  const documents = files.flatMap(({ name, text }) => readDocuments(name, text))
  const { firsts, problems: twice } = withoutDuplicates(
    documents.flatMap((document) => document.objects).filter(({ key }) => isRelated(key)),
  )
  const order = new Map(files.map(({ name }, index) => [name, index]))
  const found = new Map<string, Problem>()
  for (const problem of [...documents.flatMap((document) => document.problems), ...twice, ...judge(firsts, options)])
    found.set(JSON.stringify(problem), problem)
  return [...found.values()].sort((a, b) => byPlace(a, b, order))
}

function judge(
  objects: readonly ManifestObject[],
  { nodeName, secretsNamespace = 'kube-system' }: ValidateOptions,
): readonly Problem[] {
  const isPlan = ({ key }: ManifestObject): boolean => isServed(key) && rivalKinds.has(key.kind)
  const isNode = ({ key }: ManifestObject): boolean => isServed(key) && key.kind === 'Node'
  const names = nodeName === undefined ? [...new Set(objects.filter(isNode).map(({ key }) => key.name))] : [nodeName]
  const run = (some: readonly ManifestObject[], name: string, isStandIn: boolean): readonly Problem[] =>
    problemsOf(some, { nodeName: name, secretsNamespace, isStandIn })
  if (names.length === 0) {
    const plans = objects.filter(isPlan)
    const others = objects.filter((object) => !isPlan(object))
    return plans.length === 0 ? run(objects, '', true) : plans.flatMap((plan) => run([...others, plan], '', true))
  }
  // Services are the same on every node, and other Nodes are nothing to it: they are judged with the first.
  return names.flatMap((name, index) =>
    run(
      index === 0 ? objects : objects.filter((each) => (isNode(each) ? each.key.name === name : !isWorkload(each))),
      name,
      false,
    ),
  )
}

function isWorkload({ key }: ManifestObject): boolean {
  return key.kind === 'Service' || key.kind === 'EndpointSlice'
}

function problemsOf(
  objects: readonly ManifestObject[],
  options: { readonly nodeName: string; readonly secretsNamespace: string; readonly isStandIn: boolean },
): readonly Problem[] {
  const translator = createTranslator({ ...options, datapath: 'ebpf' })
  for (const { key, object, origin } of objects) translator.upsert(key, object, origin)
  translator.synced()
  let { problems = [] } = translator.flush()
  while (translator.hasMore) problems = translator.flush().problems ?? problems
  return problems
}

function byPlace(a: Problem, b: Problem, order: ReadonlyMap<string, number>): number {
  const file = ({ object }: Problem): number => order.get(object.file ?? '') ?? order.size
  return file(a) - file(b) || (a.object.line ?? 0) - (b.object.line ?? 0) || (a.column ?? 0) - (b.column ?? 0)
}
