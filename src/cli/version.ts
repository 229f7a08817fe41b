/** `herald version`. */
import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'

export function addVersion(program: Command, packageFile: string): void {
  program
    .command('version')
    .description('version and build')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .action(({ output }: { readonly output: 'table' | 'json' }) => {
      const build = {
        version: String(JSON.parse(readFileSync(packageFile, 'utf8')).version),
        node: process.version,
        platform: `${process.platform}/${process.arch}`,
      }
      process.stdout.write(
        output === 'json'
          ? `${JSON.stringify(build, null, 2)}\n`
          : `herald ${build.version} (node ${build.node}, ${build.platform})\n`,
      )
    })
}
