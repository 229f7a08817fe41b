/** Run in a mount namespace of its own by mount.test.ts: mounts bpffs in a folder, prints what came of each step. */
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HeraldError } from '../../src/errors.ts'
import { isBpffs, mountBpffs, unmountBpffs } from '../../src/sys/mount.ts'

const [, , folder = ''] = process.argv
const path = join(folder, 'deep', 'bpf')

/** Code and errno of what it throws. */
function failure(run: () => void): readonly unknown[] {
  try {
    run()
    return []
  } catch (error) {
    return error instanceof HeraldError ? [error.code, error.errno, error.message.replaceAll(folder, '')] : [error]
  }
}

const mounts = (): number => readFileSync('/proc/self/mountinfo', 'utf8').split(` ${path} `).length - 1

const steps: Record<string, unknown> = { before: [isBpffs(path), isBpffs(folder)] }
mountBpffs(path)
steps['mounted'] = [isBpffs(path), mounts(), (statSync(path).mode & 0o777).toString(8)]
mkdirSync(join(path, 'herald'))
mountBpffs(path)
steps['again'] = [mounts(), statSync(join(path, 'herald')).isDirectory(), isBpffs(join(path, 'herald'))]
unmountBpffs(path)
steps['unmounted'] = [isBpffs(path), mounts(), statSync(path).isDirectory()]
steps['unmounted again'] = failure(() => unmountBpffs(path))
rmSync(path, { recursive: true })
writeFileSync(path, '')
steps['a file'] = failure(() => mountBpffs(path))
steps['a folder that cannot be'] = failure(() => mountBpffs('/proc/self/fdinfo/bpf')).slice(0, 1)
console.log(JSON.stringify(steps))
