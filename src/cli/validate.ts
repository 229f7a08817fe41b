/** `herald validate FILE...`: checks manifests offline. Exit 1 when an object is broken. */
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Command, Option } from 'commander'
import type { Problem } from '../desired/model.ts'
import { HeraldError, messageOf } from '../errors.ts'
import { exitCode } from './reading.ts'
import { asciiJson, printable } from './text.ts'

interface Flags {
  readonly output: 'table' | 'json'
  readonly nodeName?: string
  readonly bgpSecretsNamespace: string
}

export function addValidate(program: Command): void {
  program
    .command('validate')
    .description('check manifests offline')
    .argument('<file...>', 'files or folders of YAML')
    .option('--node-name <name>', 'the node to judge for; by default every Node among the manifests')
    .option('--bgp-secrets-namespace <ns>', 'namespace of the Secrets that authSecretRef names', 'kube-system')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .action(async (paths: string[], { output, nodeName, bgpSecretsNamespace: secretsNamespace }: Flags) => {
      const { validateManifests } = await import('../k8s/validate.ts')
      const files = paths.flatMap(filesOf).map((name) => ({ name, text: read(name) }))
      const problems = validateManifests(files, { secretsNamespace, ...(nodeName === undefined ? {} : { nodeName }) })
      if (output === 'json') process.stdout.write(asciiJson(problems.map(flat)))
      else process.stdout.write(problems.map(line).join('') || `${files.length} file(s) ok\n`)
      process.exitCode = problems.some((problem) => problem.severity === 'error') ? exitCode.degraded : exitCode.ok
    })
}

function filesOf(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path]
    return readdirSync(path)
      .filter((name) => !name.startsWith('.') && /\.(ya?ml|json)$/.test(name))
      .sort()
      .map((name) => join(path, name))
  } catch (error) {
    throw new HeraldError('ERR_USAGE', `cannot read ${path}: ${messageOf(error)}`, { cause: error })
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new HeraldError('ERR_USAGE', `cannot read ${path}: ${messageOf(error)}`, { cause: error })
  }
}

const nameOf = ({ kind, namespace, name }: Problem['object']): string =>
  [kind, namespace, name].filter((part) => part !== undefined && part !== '').join('/')

/** As the API shows problems (docs/json.md). */
function flat({ object, ...rest }: Problem): object {
  return { ...rest, object: nameOf(object), file: object.file, line: object.line }
}

/** `FILE:LINE:COLUMN: error: Kind/name field: message. Remedy`, as compilers print it. */
function line({ severity, object, field, column, message, remedy }: Problem): string {
  const place = [object.file ?? '-', object.line, column].filter((part) => part !== undefined).join(':')
  return `${printable(`${place}: ${severity}: ${nameOf(object)}${field === '' ? '' : ` ${field}`}: ${message}. ${remedy}`)}\n`
}
