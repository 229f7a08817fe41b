// `npm run format`: writes every file as the formatter has it (biome.json).
import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { takeNoArguments } from './setup/arguments.ts'

takeNoArguments('npm run format')

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const biome = join(root, 'node_modules/@biomejs/biome/bin/biome')
process.exitCode =
  spawnSync(process.execPath, [biome, 'format', '--write'], { cwd: root, stdio: 'inherit' }).status ?? 1
