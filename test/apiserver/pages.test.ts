/**
 * What the pages say on a real API server: every manifest that they show is taken, and every command that they give.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'
import { kinds } from '../../src/k8s/kinds/table.ts'
import { presentBinaries } from './binaries.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { serviceStatusCrd, stateCrd } from './crds.ts'

const root = new URL('../../', import.meta.url)
const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : false
const pages = [
  'README.md',
  'charts/herald/README.md',
  ...readdirSync(new URL('docs/', root)).map((name) => `docs/${name}`),
]
  .filter((name) => name.endsWith('.md'))
  .map((name) => [name, readFileSync(new URL(name, root), 'utf8')] as const)

/** Blocks of code of a page in one of these languages; of none: ''. */
function blocks(text: string, ...languages: readonly string[]): readonly string[] {
  return [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)]
    .filter(([, language = '']) => languages.includes(language))
    .map(([, , code = '']) => code)
}

interface Shown {
  readonly apiVersion?: string
  readonly kind?: string
  readonly metadata?: { readonly name?: string; readonly namespace?: string }
}

/** Of Kubernetes itself and of the kinds that are read; what Cilium alone reads is none of ours. */
const isOurs = ({ apiVersion = '', kind = '' }: Shown): boolean =>
  Object.hasOwn(kinds, kind) || /^(v1|apps\/v1|rbac\.authorization\.k8s\.io\/v1)$/.test(apiVersion)

let cluster: Cluster

before(async () => {
  if (binaries === undefined) return
  cluster = await startCluster(binaries)
  const file = (path: string): string => fileURLToPath(new URL(path, root))
  const crds = ['charts/herald/crds', 'charts/herald/files/crds/cilium.io', 'charts/herald/files/crds/metallb.io']
  await cluster.kubectl(['apply', '--server-side', ...crds.flatMap((path) => ['-f', file(path)])])
  const spaces = ['herald-system', 'metallb-system', 'shop'].map((name) => ({
    ...{ apiVersion: 'v1', kind: 'Namespace' },
    metadata: { name },
  }))
  await cluster.apply(
    JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [...spaces, stateCrd, serviceStatusCrd] }),
  )
  await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=60s', '--all', 'crd'])
})
after(() => cluster?.stop())

test('every manifest on a page is one that the API server takes, strictly', { skip }, async () => {
  const shown = pages.flatMap(([name, text]) =>
    blocks(text, 'yaml').flatMap((code) =>
      parseAllDocuments(code).map((document): readonly [string, Shown] => [name, document.toJS() ?? {}]),
    ),
  )
  const manifests = shown.filter(([, object]) => object.kind !== undefined && isOurs(object))
  assert.ok(manifests.length > 8, String(manifests.length))
  for (const [name, object] of manifests) assert.ok(object.apiVersion, `${name}: ${JSON.stringify(object)}`)
  const items = manifests.map(([, object]) => object)
  await cluster.kubectl(
    ['apply', '--dry-run=server', '--validate=strict', '-f', '-'],
    JSON.stringify({ apiVersion: 'v1', kind: 'List', items }),
  )
})

/** Commands that ask or change a cluster; no pods run here, and the plugin has tests of its own. */
function commandsOf(text: string): readonly string[] {
  return blocks(text, '', 'sh', 'console')
    .flatMap((code) => code.replaceAll('\\\n', ' ').split('\n'))
    .map((line) =>
      line
        .replace(/^\$ /, '')
        .replace(/\s+#.*$/, '')
        .trim(),
    )
    .filter((line) => line.startsWith('kubectl ') && !/ exec | rollout |^kubectl herald/.test(line))
}

test('every command of docs/install.md and docs/operate.md for a cluster is one that kubectl and the server take', {
  skip,
}, async () => {
  const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'default' } }
  await cluster.apply(JSON.stringify({ ...service, spec: { type: 'LoadBalancer', ports: [{ port: 80 }] } }))
  const given = pages.filter(([name]) => /install|operate|README/.test(name)).flatMap(([, text]) => commandsOf(text))
  assert.ok(given.length >= 8, given.join('\n'))
  for (const line of given) {
    const words = line.split(/\s+/).slice(1)
    const local = words.map((word) => (/^(charts|deploy)\//.test(word) ? fileURLToPath(new URL(word, root)) : word))
    await cluster.kubectl(local).catch((error: unknown) => assert.fail(`${line}: ${String(error)}`))
  }
})

test('a command in the running text of a page is one as well', { skip }, async () => {
  const inText = pages
    .flatMap(([, text]) => [...text.replaceAll(/^```[\s\S]*?^```$/gm, '').matchAll(/`(kubectl [^`]+)`/g)])
    .map(([, line = '']) => line)
    .filter((line) => !/ exec |^kubectl (herald|proxy|drain)|FILE|\.\.\.|NAME|<|deploy\//.test(line))
    // Without what it is to be done to there is nothing to try.
    .filter((line) => line.split(' ').length > 2 && !/wait|annotate/.test(line))
  assert.ok(inText.length > 5, inText.join('\n'))
  for (const line of new Set(inText)) {
    const words = line.split(/\s+/).slice(1)
    await cluster.kubectl(words).catch((error: unknown) => assert.fail(`${line}: ${String(error)}`))
  }
})
