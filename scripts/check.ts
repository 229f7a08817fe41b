/** `npm run check`: the type check and the rules of the house, the quick gate before everything else. */
import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Runs the compiler over everything; true when it has nothing to say. Its words go to the terminal. */
export function typeCheck(): boolean {
  return spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', root], { cwd: root, stdio: 'inherit' }).status === 0
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const isTyped = typeCheck()
  const tidy = spawnSync(process.execPath, ['--test', join(root, 'test/tidy.test.ts')], { cwd: root, stdio: 'inherit' })
  console.log(isTyped ? 'types: ok' : 'types: see above')
  process.exitCode = isTyped && tidy.status === 0 ? 0 : 1
}
