/**
 * Files of the built program, run with the code that the engine made of them when they were built (`FILE.code`,
 * scripts/code.ts): it is read in a fraction of the time of compiling. What is of another engine, of other flags or of
 * another file is passed over, and the file is compiled as ever.
 */
import { readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { constants, Script } from 'node:vm'

/** A part that is loaded late: of the sources, or a file beside the built one that asks (`from`, its URL). */
export async function loadPart<T>(from: string, source: string, built: string): Promise<T> {
  if (from.endsWith('.ts')) return await import(new URL(source, from).href)
  return runBuilt(fileURLToPath(new URL(built, from))) as T
}

/** Runs a built file, which is in CommonJS; answers what it exports. */
export function runBuilt(path: string): unknown {
  // Nothing but ASCII is in it (scripts/build.ts), and so the engine holds it with an octet for each character.
  const source = readFileSync(path, 'latin1')
  const script = new Script(`(function (exports, require, module, __filename, __dirname) {${source}\n})`, {
    filename: path,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    ...codeOf(path, source),
  })
  const module = { exports: {} }
  script.runInThisContext()(module.exports, createRequire(path), module, path, dirname(path))
  return module.exports
}

/** First line of the file with the code of such a source: of which engine it is, and of which build, the last line. */
export const headOf = (source: string): string =>
  `${process.version} ${process.arch} ${source.slice(source.lastIndexOf('\n', source.length - 2) + 1)}`

function codeOf(path: string, source: string): { readonly cachedData?: Buffer } {
  try {
    const code = readFileSync(`${path}.code`)
    const head = headOf(source)
    // Who edits a built file to find something out sees what was written.
    const isSame = code.toString('latin1', 0, head.length) === head && mtimeOf(path) <= mtimeOf(`${path}.code`)
    return isSame ? { cachedData: code.subarray(head.length) } : {}
  } catch {
    // A program that was built for another processor has none.
    return {}
  }
}

const mtimeOf = (path: string): number => statSync(path).mtimeMs
