/**
 * Every switch of the chart by itself and beside every other, and keys that nobody knows at every level of the values.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from 'yaml'
import { readFileSync } from 'node:fs'
import { chart, helm, nameOf, only, render, skip } from './helm.ts'
import { argumentsOf, pairwise, switches, values } from './switches.ts'

test('of any two switches the rows have every pair of values', () => {
  const rows = pairwise()
  assert.ok(switches.length > 20)
  switches.forEach((_, a) => {
    for (let b = 0; b < a; b++) {
      const pairs = new Set(rows.map((row) => `${row[a]} ${row[b]}`))
      assert.equal(pairs.size, 4, `${switches[a]?.path} ${switches[b]?.path}`)
    }
  })
})

test('with any two switches in whatever way, every object has a name of its own and all that it refers to', {
  skip,
}, async () => {
  for (const row of pairwise()) {
    const objects = await render(...argumentsOf(row))
    const names = objects.map(nameOf)
    assert.equal(new Set(names).size, names.length, names.join('\n'))
    const accounts = new Set(names.filter((name) => name.startsWith('ServiceAccount')))
    for (const object of objects.filter(({ kind }) => kind.endsWith('RoleBinding'))) {
      const { roleRef, subjects } = object as unknown as {
        readonly roleRef: { readonly kind: string; readonly name: string }
        readonly subjects: readonly { readonly kind: string; readonly name: string; readonly namespace: string }[]
      }
      const place = roleRef.kind === 'Role' ? `${object.metadata.namespace}/` : ''
      assert.ok(names.includes(`${roleRef.kind} ${place}${roleRef.name}`), nameOf(object))
      // Where none is made one of the cluster is meant, which is named.
      for (const { kind, name, namespace } of subjects)
        assert.ok(accounts.has(`${kind} ${namespace}/${name}`) || name === 'default', nameOf(object))
    }
  }
})

test('each switch makes a difference, the other way round from its default', { skip }, async () => {
  // Nothing of it is rendered without the other one.
  const withAnother: Readonly<Record<string, string>> = { 'agent.socketLB.endTcp': 'agent.socketLB.enabled=true' }
  const textOf = async (...sets: readonly string[]): Promise<string> =>
    JSON.stringify(await render(...sets.flatMap((set) => ['--set', set])))
  const rendered = await Promise.all(
    switches.map(async ({ path, usual }) => {
      const others = withAnother[path] === undefined ? [] : [withAnother[path]]
      return [path, await textOf(...others), await textOf(...others, `${path}=${!usual}`)] as const
    }),
  )
  assert.deepEqual(
    rendered.filter(([, without, text]) => text === without).map(([path]) => path),
    [],
  )
})

/** Maps of which the chart knows each key, with the kinds of their values: those that its schema closes. */
interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: unknown
}
function closedMaps(schema: Schema, at: readonly string[] = []): readonly string[][] {
  const below = Object.entries(schema.properties ?? {}).flatMap(([key, each]) => closedMaps(each, [...at, key]))
  return schema.additionalProperties === false ? [[...at], ...below] : below
}

test('a key that nobody knows is refused at each level, all of them by name at once', { skip }, async () => {
  const schema: Schema = JSON.parse(readFileSync(`${chart}values.schema.json`, 'utf8'))
  const maps = closedMaps(schema)
  assert.ok(maps.length >= 25, String(maps.length))
  const unknown = maps.map((path, index) => [path, `unknown${index}`] as const)
  const set = unknown.map(([path, key]) => `${[...path, key].join('.')}=1`)
  const said = await helm('template', 'herald', chart, '--set', set.join(',')).then(
    () => assert.fail('it was taken'),
    String,
  )
  for (const [path, key] of unknown) {
    const where = path.length === 0 ? '' : `at '/${path.join('/')}': `
    assert.ok(said.includes(`${where}additional properties '${key}' not allowed`), `${path.join('.')}: ${said}`)
  }
  // One alone as well, also where the rest is as it was.
  for (const key of ['operator.networkPolicy.apiport', 'prometheus.podMonitor.label', 'agent.startupProbe.enable'])
    await assert.rejects(render('--set', `${key}=1`), /additional properties '\w+' not allowed/)
  assert.deepEqual(parse(readFileSync(`${chart}values.yaml`, 'utf8')), values)
})

/** Paths of single values, those of free maps left out. */
function leaves(map: Readonly<Record<string, unknown>>, at: readonly string[] = []): readonly string[] {
  return Object.entries(map).flatMap(([key, value]) => {
    const path = [...at, key]
    if (typeof value === 'string' || typeof value === 'number') return [path.join('.')]
    const isMap = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isMap ? leaves(value as Readonly<Record<string, unknown>>, path) : []
  })
}

test('a value that is not there, as after an upgrade that reuses those of an older chart, is no empty argument', {
  skip,
}, async () => {
  const free = /ecurityContext|resources|nodeSelector|dashboard|trategy|Probe/
  const paths = leaves(values).filter((path) => !free.test(path))
  assert.ok(paths.length > 20, String(paths.length))
  for (const path of paths) {
    // What cannot do without it says so before anything changes.
    const objects = await render('--set', `${path}=null`).catch(() => [])
    const empty = [...JSON.stringify(objects).matchAll(/"(--[\w-]+=(?:[^"]*[:>]|null)?)"/g)].map(([, flag]) => flag)
    assert.deepEqual(empty, [], path)
  }
})

/** Maps that the chart has a key for each of: nothing of a security context or the like. */
function sections(map: Readonly<Record<string, unknown>>, at: readonly string[] = []): readonly string[] {
  return Object.entries(map).flatMap(([key, value]) => {
    const path = [...at, key]
    const schema = schemaAt(path)
    if (typeof schema !== 'object' || schema === null || !('properties' in schema)) return []
    return [path.join('.'), ...sections(value as Readonly<Record<string, unknown>>, path)]
  })
}

function schemaAt(path: readonly string[]): unknown {
  const whole: unknown = JSON.parse(readFileSync(`${chart}values.schema.json`, 'utf8'))
  return path.reduce((schema, key) => Reflect.get(Reflect.get(Object(schema), 'properties') ?? {}, key), whole)
}

test('a section that is not there, as with values of a chart that had none, is named and refused', {
  skip,
}, async () => {
  const paths = sections(values)
  assert.ok(paths.length > 20, String(paths.length))
  for (const path of paths) {
    const name = path.split('.').at(-1)
    await assert.rejects(render('--set', `${path}=null`), new RegExp(`missing propert(y|ies).*'${name}'`), path)
  }
})

test('the policy of the operator lets through what it listens on and what it asks, and nothing of agents', {
  skip,
}, async () => {
  interface Policy {
    readonly spec: {
      readonly podSelector: { readonly matchLabels: Readonly<Record<string, string>> }
      readonly policyTypes: readonly string[]
      readonly ingress: readonly { readonly ports: readonly Port[] }[]
      readonly egress: readonly { readonly ports: readonly Port[]; readonly to?: unknown }[]
    }
  }
  interface Port {
    readonly protocol: string
    readonly port?: number | string
  }
  interface Workload {
    readonly spec: {
      readonly template: {
        readonly metadata: { readonly labels: Readonly<Record<string, string>> }
        readonly spec: {
          readonly hostNetwork?: boolean
          readonly containers: readonly { readonly ports: readonly { readonly containerPort: number }[] }[]
        }
      }
    }
  }
  const objects = await render('--set', 'operator.http.port=19473,operator.networkPolicy.apiPort=6443')
  const { spec } = only(objects, 'NetworkPolicy') as unknown as Policy
  const [agent, operator] = ['DaemonSet', 'Deployment'].map((kind) => only(objects, kind) as unknown as Workload)
  assert.ok(agent !== undefined && operator !== undefined)
  const selects = ({ spec: { template } }: Workload): boolean =>
    Object.entries(spec.podSelector.matchLabels).every(([key, value]) => template.metadata.labels[key] === value)
  assert.deepEqual([selects(operator), selects(agent)], [true, false])
  // A pod with the network of its node is none that a policy knows.
  assert.equal(agent.spec.template.spec.hostNetwork, true)
  const listened = operator.spec.template.spec.containers.flatMap(({ ports }) =>
    ports.map((each) => each.containerPort),
  )
  const admitted = spec.ingress.flatMap(({ ports }) => ports.map(({ port }) => Number(port)))
  assert.deepEqual(admitted, listened)
  assert.deepEqual(spec.policyTypes, ['Ingress', 'Egress'])
  const asked = spec.egress.flatMap(({ ports, to }) => {
    assert.equal(to, undefined, 'the API server is no pod')
    return ports.map(({ protocol, port }) => `${protocol} ${port ?? 'any'}`)
  })
  assert.deepEqual(asked, ['TCP 6443', 'UDP 53', 'TCP 53'])
  const own = await render('--set', 'operator.hostNetwork=true')
  assert.equal(own.filter(({ kind }) => kind === 'NetworkPolicy').length, 0)
})
