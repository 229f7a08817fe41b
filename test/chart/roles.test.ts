/** The roles of deploy/, which is what the chart makes, hold every kind that is read: without one, a kind is a 403. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { kinds, type ServedKind } from '../../src/k8s/kinds/table.ts'
import { operatorKinds } from '../../src/operator/allocation.ts'

interface Role {
  readonly kind?: string
  readonly metadata?: { readonly name?: string }
  readonly rules?: readonly {
    readonly apiGroups: readonly string[]
    readonly resources: readonly string[]
    readonly verbs: readonly string[]
  }[]
}

const text = readFileSync(new URL('../../deploy/herald.yaml', import.meta.url), 'utf8')
const objects = parseAllDocuments(text).map((document): Role => document.toJS() ?? {})

/** `group/resource` that a ClusterRole lets its owner list and watch. */
function listedBy(name: string): ReadonlySet<string> {
  const role = objects.find(({ kind, metadata }) => kind === 'ClusterRole' && metadata?.name === name)
  assert.ok(role, name)
  return new Set(
    (role.rules ?? [])
      .filter(({ verbs }) => ['list', 'watch'].every((verb) => verbs.includes(verb)))
      .flatMap(({ apiGroups, resources }) => apiGroups.flatMap((group) => resources.map((each) => `${group}/${each}`))),
  )
}

/** Of which agents read those of a namespace alone. */
const isOfRoles = (kind: ServedKind): boolean => kind === 'Secret' || kind === 'Lease'

for (const [name, read] of [
  ['herald-system-herald-agent', new Set((Object.keys(kinds) as ServedKind[]).filter((kind) => !isOfRoles(kind)))],
  ['herald-system-herald-operator', operatorKinds],
] as const)
  test(`the role of ${name} is for every kind that it reads`, () => {
    const listed = listedBy(name)
    for (const kind of read) {
      const { resource, versions } = kinds[kind]
      const [version] = versions
      const group = version.includes('/') ? version.slice(0, version.indexOf('/')) : ''
      assert.ok(listed.has(`${group}/${resource}`), `${kind} is missing`)
    }
  })
