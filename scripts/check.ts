/** `npm run check`: format, lint, types and the rules of the house, the quick gate before everything else. */
import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { takeNoArguments } from './setup/arguments.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** True when the tool has nothing to say; its words go to the terminal. */
function passes(...args: readonly string[]): boolean {
  return spawnSync(process.execPath, [...args], { cwd: root, stdio: 'inherit' }).status === 0
}

/** Runs the compiler over everything. */
export function typeCheck(): boolean {
  return passes(join(root, 'node_modules/typescript/bin/tsc'), '-p', root)
}

/** Format and lint, as biome.json says; `npm run format` mends the first. */
export function lintCheck(): boolean {
  return passes(join(root, 'node_modules/@biomejs/biome/bin/biome'), 'ci', '--error-on-warnings', '--log-level=warn')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  takeNoArguments('npm run check')
  const [isLinted, isTyped] = [lintCheck(), typeCheck()]
  const isTidy = passes('--test', join(root, 'test/tidy.test.ts'))
  console.log(isLinted ? 'format, lint: ok' : 'format, lint: see above (npm run format)')
  console.log(isTyped ? 'types: ok' : 'types: see above')
  process.exitCode = isLinted && isTyped && isTidy ? 0 : 1
}
