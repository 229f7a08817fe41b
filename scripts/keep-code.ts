/**
 * Loaded before the built program (`--import`, scripts/code.ts) into each of its threads: what the engine made of its
 * files by the end of the run, functions that were called among it, is kept beside them.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import vm from 'node:vm'
import { headOf } from '../src/sys/parts.ts'

const scripts = new Map<string, vm.Script>()

class KeptScript extends vm.Script {
  constructor(source: string, options: vm.ScriptOptions) {
    super(source, options)
    if (options.filename !== undefined) scripts.set(options.filename, this)
  }
}
Object.assign(vm, { Script: KeptScript })

process.once('exit', () => {
  for (const [path, script] of scripts) {
    const head = Buffer.from(headOf(readFileSync(path, 'latin1')))
    writeFileSync(`${path}.code`, Buffer.concat([head, script.createCachedData()]))
  }
})
