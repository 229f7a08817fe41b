/** Which test files belong to which suite, and how a suite is run. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

export interface Suite {
  readonly name: 'unit' | 'vectors' | 'apiserver' | 'chart' | 'datapath' | 'e2e' | 'interop' | 'lab'
  readonly files: readonly string[]
  /** Files one after the other: they use namespaces, the kernel's BPF or a lot of the machine. */
  readonly isSerial: boolean
}

const own = ['vectors', 'apiserver', 'chart', 'datapath', 'e2e', 'interop', 'lab'] as const
export const suiteNames: readonly Suite['name'][] = ['unit', ...own]

/** The suites in the order in which they run, quick ones first; `root` is the checkout. */
export function suitesOf(root: string): Suite[] {
  const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .sort()
  const folderOf = (name: string): string => name.split('/')[0] ?? ''
  return suiteNames.map((name) => ({
    name,
    files: files
      .filter((file) => (name === 'unit' ? !own.some((folder) => folder === folderOf(file)) : folderOf(file) === name))
      .map((file) => join(root, 'test', file)),
    isSerial: name !== 'unit' && name !== 'vectors',
  }))
}
