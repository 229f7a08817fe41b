/**
 * `node scripts/chart.ts`: writes what is made of the chart.
 *
 *     values.yaml            -> values.schema.json, the table in charts/herald/README.md
 *     helm template (helm)   -> deploy/: a kustomize base, and all of it in one file
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { presentHelm } from '../test/helm/binary.ts'
import { describeValues, schemaOf, tableOf } from './chart/values.ts'
import { takeNoArguments } from './setup/arguments.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const chart = join(root, 'charts/herald')
const namespace = 'herald-system'
const tableMarks = ['<!-- values: made by node scripts/chart.ts -->', '<!-- end of values -->'] as const

const read = (path: string): string => readFileSync(join(root, path), 'utf8')

/** What values.yaml makes, by path from the root. */
export function valueFiles(): ReadonlyMap<string, string> {
  const values = describeValues(read('charts/herald/values.yaml'))
  const foreign = Object.keys(parse(read('charts/herald/files/foreign-values.yaml')))
  const readme = read('charts/herald/README.md')
  const [before = '', rest = ''] = readme.split(tableMarks[0])
  const after = rest.split(tableMarks[1])[1] ?? ''
  return new Map([
    ['charts/herald/values.schema.json', `${JSON.stringify(schemaOf(values, foreign), null, 2)}\n`],
    ['charts/herald/README.md', `${before}${tableMarks[0]}\n${tableOf(values)}\n${tableMarks[1]}${after}`],
  ])
}

/** What the chart makes with its defaults, by path from the root. */
export function deployFiles(helm: string): ReadonlyMap<string, string> {
  const args = ['template', 'herald', chart, '--namespace', namespace, '--kube-version', '1.30.0']
  const rendered = execFileSync(helm, args, { encoding: 'utf8', maxBuffer: 64 * 2 ** 20 })
  const head = '# Made by `node scripts/chart.ts` from the chart in charts/herald: do not edit.\n'
  const objects = plainManifests(rendered)
  const files = readdirSync(join(chart, 'crds')).sort()
  const crds = files.map((name) => read(`charts/herald/crds/${name}`))
  const kustomization = [
    'apiVersion: kustomize.config.k8s.io/v1beta1',
    'kind: Kustomization',
    `resources: [${['namespace.yaml', ...files, 'herald.yaml'].join(', ')}]`,
  ]
  return new Map([
    ['deploy/base/kustomization.yaml', `${head}${kustomization.join('\n')}\n`],
    ['deploy/base/namespace.yaml', `${head}${namespaceObject}`],
    ...files.map((name, index): [string, string] => [`deploy/base/${name}`, crds[index] ?? '']),
    ['deploy/base/herald.yaml', `${head}${objects}`],
    ['deploy/herald.yaml', `${head}${[namespaceObject, ...crds, objects].join('---\n')}`],
  ])
}

/** Agents use the network of the node and load programs: Pod Security calls that privileged. */
const namespaceObject = `apiVersion: v1
kind: Namespace
metadata:
  name: ${namespace}
  labels:
    app.kubernetes.io/part-of: herald
    pod-security.kubernetes.io/enforce: privileged
`

/** Nothing says any more that helm owns these objects: it does not. */
function plainManifests(rendered: string): string {
  const ofHelm =
    /^(# Source: .*|\s*(app\.kubernetes\.io\/managed-by|helm\.sh\/chart): .*|\s*annotations: \{helm\.sh\/[^,]*\})$/
  return rendered
    .split('\n')
    .filter((line) => !ofHelm.test(line))
    .join('\n')
    .split(/^---\n/m)
    .map((document) => document.trim())
    .filter((document) => document !== '')
    .map((document) => `${document}\n`)
    .join('---\n')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  takeNoArguments('node scripts/chart.ts')
  const helm = presentHelm()
  if (helm === undefined) console.error('no helm here (see test/helm/binary.ts): deploy/ is left as it is')
  const write = (files: ReadonlyMap<string, string>): void => {
    for (const [path, text] of files) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), text)
      console.log(path)
    }
  }
  write(valueFiles())
  if (helm !== undefined) write(deployFiles(helm))
}
