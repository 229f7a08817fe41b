/**
 * The first process of a machine: `first.mjs FILE ...` mounts what tests need, puts the modules into the
 * kernel, runs each file of tests, and turns the machine off.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readdirSync } from 'node:fs'
import koffi from 'koffi'
import { mark } from './lines.ts'

const libc = koffi.load('libc.so.6')
const mount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *options)',
)
const syscall = libc.func('long syscall(long number, long a, const char *b, long c)')
const reboot = libc.func('int reboot(int what)')
const finitModule = 313
const restart = 0x0123_4567

for (const [type, target] of [
  ['proc', '/proc'],
  ['sysfs', '/sys'],
  ['securityfs', '/sys/kernel/security'],
  ['devtmpfs', '/dev'],
  ['cgroup2', '/sys/fs/cgroup'],
  ['tmpfs', '/run'],
  ['tmpfs', '/tmp'],
] as const) {
  mkdirSync(target, { recursive: true })
  if (Number(mount(type, target, type, 0, '')) < 0) throw new Error(`mount ${target}: ${koffi.errno()}`)
}
for (const name of readdirSync('/modules').sort()) {
  const file = openSync(`/modules/${name}`, 'r')
  if (Number(syscall(finitModule, file, '', 0)) < 0) throw new Error(`module ${name}: ${koffi.errno()}`)
  closeSync(file)
}
const env = { PATH: '/bin', HOME: '/', TMPDIR: '/tmp' }
spawnSync('/bin/ip', ['link', 'set', 'lo', 'up'], { env })
const [, self = '', ...files] = process.argv
for (const file of files) {
  const began = performance.now()
  const { status, signal, error } = spawnSync(
    '/bin/node',
    [
      ...process.execArgv,
      `--test-reporter=${self.replace('first', 'lines')}`,
      '--test-reporter-destination=stdout',
      file,
    ],
    { env, stdio: ['ignore', 'inherit', 'inherit'] },
  )
  const text = `${error?.message ?? ''} status ${status} signal ${signal}`
  const seconds = (performance.now() - began) / 1000
  console.log(`${mark}${JSON.stringify({ type: 'end', name: file, text, seconds })}`)
}
reboot(restart)
