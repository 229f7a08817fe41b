/** `herald validate FILE...`: checks manifests offline. Exit 1 when an object is broken. */
import { type Command, Option } from 'commander'
import type { Problem } from '../desired/model.ts'
import { nothingRead, readFound } from './manifests.ts'
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
      const { countObjects } = await import('../k8s/directory/read-manifests.ts')
      const { files, ignored, ...read } = await readFound(paths)
      const options = { secretsNamespace, ...(nodeName === undefined ? {} : { nodeName }) }
      const problems = [...read.problems, ...validateManifests(files, options)]
      const { objects, unread } = countObjects(files)
      if (objects === 0 && problems.length === 0) throw nothingRead(paths)
      if (output === 'json') process.stdout.write(asciiJson(problems.map(flat)))
      else {
        process.stdout.write(problems.map(line).join('') || `${files.length} file(s) ok\n`)
        process.stdout.write(ignoredText(unread, ignored))
      }
      process.exitCode = problems.some((problem) => problem.severity === 'error') ? exitCode.degraded : exitCode.ok
    })
}

/** What was looked at and has no effect: kinds that nothing here reads, and names in folders that are no manifests. */
function ignoredText(kinds: ReadonlyMap<string, number>, names: readonly string[]): string {
  const counts = [...kinds].map(([kind, count]) => `${count} ${kind}`)
  const shown = names.length > 5 ? [...names.slice(0, 5), `${names.length - 5} more`] : names
  const parts = [...(counts.length === 0 ? [] : [`of kinds that are not read: ${counts.join(', ')}`]), ...shown]
  return parts.length === 0 ? '' : `${printable(`ignored: ${parts.join('; ')}`)}\n`
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
  const what = `${nameOf(object)}${field === '' ? '' : ` ${field}`}`
  return `${printable(`${place}: ${severity}: ${what}: ${message}. ${remedy}`)}\n`
}
