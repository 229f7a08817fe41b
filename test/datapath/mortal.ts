/**
 * Loaded before a program (`--import`): counts what the program changes in the kernel and in file systems, and ends it
 * by SIGKILL before one of these steps. `HERALD_STEPS` is a file to which each step goes as a line: its name, and the
 * how manieth of this name it is; `HERALD_DIE_BEFORE` such a line, whose step is not done any more. The number of a step
 * among all would be another one with each number of flows that are copied.
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { basename, dirname } from 'node:path'
import koffi from 'koffi'

const { appendFileSync } = fs
const file = process.env['HERALD_STEPS']
const last = process.env['HERALD_DIE_BEFORE']
const counts = new Map<string, number>()

function step(name: string): void {
  const count = (counts.get(name) ?? 0) + 1
  counts.set(name, count)
  const line = `${name} ${count}`
  if (line === last) process.kill(process.pid, 'SIGKILL')
  if (file !== undefined) appendFileSync(file, `${line}\n`)
}

/** A folder by its name, and a file by that of the folder in which it is: versions and interfaces have numbers. */
function placeOf(call: string, path: string): string {
  const name = basename(/dir/.test(call) ? path : dirname(path))
  return /^v\d+$/.test(name) ? 'version' : name
}

const onFiles = ['mkdirSync', 'renameSync', 'unlinkSync', 'rmdirSync'] as const
for (const name of onFiles) {
  const call = fs[name] as (...args: readonly unknown[]) => unknown
  Object.assign(fs, {
    [name]: (...args: readonly unknown[]): unknown => {
      step(`${name} ${placeOf(name, String(args[0]))}`)
      return call(...args)
    },
  })
}
syncBuiltinESMExports()

const onKernel = /\b(bpf_object__load|bpf_map_update_(?:batch|elem)|bpf_link_update|bpf_obj_pin|bpf_tc_attach)\(/
const load = koffi.load.bind(koffi)
Object.assign(koffi, {
  load: (...args: Parameters<typeof load>): ReturnType<typeof load> => {
    const library = load(...args)
    return new Proxy(library, {
      get: (target, property) => {
        if (property !== 'func') return Reflect.get(target, property, target)
        return (prototype: string) => {
          const call = target.func(prototype) as (...values: readonly unknown[]) => unknown
          const name = onKernel.exec(prototype)?.[1]
          if (name === undefined) return call
          return (...values: readonly unknown[]): unknown => {
            step(name)
            return call(...values)
          }
        }
      },
    })
  },
})
