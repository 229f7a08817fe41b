/** Processes whose loops are watched (loop-watch.ts). */
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

/**
 * NODE_OPTIONS with which a process and its threads are watched. The watch is JavaScript beside the built program,
 * where koffi is found: TypeScript would bring the engine's compiler for it into each thread, whose heap is then larger
 * and takes longer to be collected.
 */
export function watchOptions(): string {
  const outfile = here('../build/loop-watch.cjs')
  const entryPoints = [here('loop-watch.ts')]
  buildSync({ entryPoints, outfile, bundle: true, platform: 'node', format: 'cjs', external: ['koffi'] })
  return `--require=${outfile}`
}
