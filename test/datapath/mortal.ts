/**
 * Loaded before a program (`--import`): counts what the program changes in the kernel and in file systems, and ends it
 * by SIGKILL before one of these steps. `HERALD_STEPS` is a file to which each step goes as a line; `HERALD_DIE_BEFORE`
 * the number of the step that is not done any more.
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { basename, dirname } from 'node:path'
import koffi from 'koffi'

const { appendFileSync } = fs
const file = process.env['HERALD_STEPS']
const last = Number(process.env['HERALD_DIE_BEFORE'] ?? Infinity)
let steps = 0

function step(name: string): void {
  if (++steps >= last) process.kill(process.pid, 'SIGKILL')
  if (file !== undefined) appendFileSync(file, `${name}\n`)
}

const onFiles = ['mkdirSync', 'renameSync', 'unlinkSync', 'rmdirSync'] as const
for (const name of onFiles) {
  const call = fs[name] as (...args: readonly unknown[]) => unknown
  Object.assign(fs, {
    [name]: (...args: readonly unknown[]): unknown => {
      const path = String(args[0])
      step(`${name} ${basename(dirname(path))}`)
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
