#!/usr/bin/env node
// Start of every command, in plain JavaScript because it runs on whatever Node the machine has (18 or later):
// installs the npm packages when they are missing or older than the lock file, then runs the given script
// with the Node release that package.json pins.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const version = (pkg) => {
  try {
    return JSON.parse(readFileSync(join(root, 'node_modules', pkg, 'package.json'), 'utf8')).version
  } catch {
    return undefined
  }
}

/** True when every package of the lock file that fits this platform lies in node_modules with that version. */
function installed() {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
  return Object.entries(lock).every(([path, entry]) => {
    if (path === '') return true
    if (entry.cpu && !entry.cpu.includes(process.arch)) return true
    if (entry.os && !entry.os.includes(process.platform)) return true
    if (entry.libc && version(path.slice('node_modules/'.length)) === undefined) return true
    return version(path.slice('node_modules/'.length)) === entry.version
  })
}

if (process.platform !== 'linux') {
  console.error(`herald: runs on Linux; this is ${process.platform}.`)
  process.exit(3)
}
if (!installed()) {
  console.error('herald: installing npm packages from package-lock.json (about half a minute) ...')
  const npm = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  })
  if (npm.status !== 0) {
    console.error('herald: `npm ci` failed, see above. It needs the npm registry and a writable checkout.')
    process.exit(3)
  }
}
const node = join(root, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node')
if (!existsSync(node)) {
  console.error(`herald: no pinned Node for ${process.arch}; x64 and arm64 are supported.`)
  process.exit(3)
}
const [script, ...args] = process.argv.slice(2)
const child = spawn(node, [join(root, script), ...args], { stdio: 'inherit', env: process.env })
// The terminal sends Ctrl-C to the whole group: the child decides when to end, we only pass its verdict on.
process.on('SIGINT', () => {})
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
child.on('error', (error) => {
  console.error(`herald: the pinned Node cannot be started: ${error.message}. It needs glibc 2.28 or later (not musl).`)
  process.exit(3)
})
child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : (code ?? 1)))
