/** Modules of an unpacked kernel package: which files, and in which order they go into the kernel. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'

const nameOf = (file: string): string => basename(file).replace(/\.ko$/, '').replaceAll('-', '_')

/**
 * The files of these modules below `folder` (lib/modules/RELEASE), each after those that it needs. What is built into
 * the kernel needs none. Throws when there is no such module.
 */
export function moduleFiles(folder: string, names: readonly string[]): readonly string[] {
  const files = new Map(
    readdirSync(join(folder, 'kernel'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ko'))
      .map((path) => [nameOf(path), join(folder, 'kernel', path)]),
  )
  const list = join(folder, 'modules.builtin')
  const builtIn = new Set(existsSync(list) ? readFileSync(list, 'utf8').split('\n').map(nameOf) : [])
  const ordered = new Set<string>()
  const visit = (name: string): void => {
    const file = files.get(name)
    if (file === undefined && builtIn.has(name)) return
    if (file === undefined) throw new Error(`${folder} has no module ${name}`)
    for (const needed of neededBy(readFileSync(file))) visit(needed)
    ordered.add(file)
  }
  for (const name of names) visit(name)
  return [...ordered]
}

/** `depends` of the section .modinfo. */
function neededBy(module: Buffer): readonly string[] {
  const [, names = ''] = /\0depends=([\w,-]*)\0/.exec(module.toString('latin1')) ?? []
  return names.split(',').filter((name) => name !== '')
}
