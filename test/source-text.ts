/**
 * Reads TypeScript as text, as far as the rules of tidy.test.ts need: imports, functions with their length, code
 * without comments.
 */

/** Blanks comments and (unless `keepStrings`) the contents of strings, keeping every line where it is. */
export function stripCommentsAndStrings(source: string, keepStrings = false): string {
  const token =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\[\s\S]|[^`\\])*`|\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[dgimsuvy]*(?=\s*[.,;)\]}]|\s*$)/gm
  return source.replace(token, (text) => {
    if (text.startsWith('/*') || text.startsWith('//')) return text.replace(/[^\n]/g, ' ')
    return keepStrings
      ? text
      : text.replace(/[^\n]/g, (character, at: number) => (at === 0 || at === text.length - 1 ? character : ' '))
  })
}

export function importsOf(source: string): { readonly specifier: string; readonly isTypeOnly: boolean }[] {
  const statement = /^(?:import|export)\s+(type\s+)?(?:([^'"`;]*?)\s+from\s+)?['"]([^'"]+)['"]/gm
  const dynamic = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g
  const found = [...source.matchAll(statement)].map((match) => ({
    specifier: match[3] ?? '',
    isTypeOnly: match[1] !== undefined || onlyTypes(match[2] ?? ''),
  }))
  return [...found, ...[...source.matchAll(dynamic)].map((match) => ({ specifier: match[1] ?? '', isTypeOnly: false }))]
}

function onlyTypes(clause: string): boolean {
  const names = /^\{([\s\S]*)\}$/.exec(clause.trim())?.[1]
  return (
    names !== undefined &&
    names
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== '')
      .every((name) => name.startsWith('type '))
  )
}

/** Functions, methods and arrow functions with a block body, by matching braces. */
export function functionsOf(
  source: string,
): { readonly name: string; readonly line: number; readonly lines: number }[] {
  const text = stripCommentsAndStrings(source)
  const start =
    /(?:\bfunction\s*\*?\s*(\w*)\s*(?:<[^>{]*>)?\(|^[ ]+(?:(?:private|public|protected|static|override|async|get|set)\s+)*(#?\w+)\s*(?:<[^>{]*>)?\([^;{}]*\)(?:\s*:[^;{}=]+)?\s*\{|=>\s*\{)/gm
  const control = new Set(['if', 'for', 'while', 'switch', 'catch', 'with', 'return'])
  const found: { name: string; line: number; lines: number }[] = []
  for (const match of text.matchAll(start)) {
    const name = match[1] ?? match[2] ?? '=>'
    if (control.has(name)) continue
    const from = match[0].endsWith('{')
      ? match.index + match[0].length - 1
      : bodyStart(text, match.index + match[0].length - 1)
    const to = closing(text, from, '{', '}')
    if (from < 0 || to < 0) continue
    found.push({ name, line: lineAt(text, match.index), lines: lineAt(text, to) - lineAt(text, match.index) + 1 })
  }
  return found
}

/** The brace that opens the body of a function whose parameter list opens at `open`; -1 for an overload. */
function bodyStart(text: string, open: number): number {
  const after = closing(text, open, '(', ')')
  if (after < 0) return -1
  let depth = 0
  for (let i = after + 1; i < text.length; i++) {
    const character = text[i]
    if (character === '{' && depth === 0) {
      // A brace after a colon or an opening type bracket belongs to the return type.
      if (!/[:|&<]\s*(readonly\s+)?$/.test(text.slice(after + 1, i))) return i
      i = closing(text, i, '{', '}')
    } else if (character === '(' || character === '[') depth++
    else if (character === ')' || character === ']') depth--
    else if (character === ';' && depth === 0) return -1
    if (depth < 0) return -1
  }
  return -1
}

function closing(text: string, from: number, open: string, close: string): number {
  if (from < 0) return -1
  let depth = 0
  for (let i = from; i < text.length; i++) {
    if (text[i] === open) depth++
    else if (text[i] === close && --depth === 0) return i
  }
  return -1
}

function lineAt(text: string, index: number): number {
  return text.slice(0, index).split('\n').length
}

/** What a file exports itself; what it passes on from another counts as an import. */
export function exportsOf(source: string): readonly { readonly name: string; readonly isType: boolean }[] {
  const declaration = /^export\s+(?:async\s+|abstract\s+)*(const|let|function\*?|class|interface|type)\s+(\w+)/gm
  return [...stripCommentsAndStrings(source).matchAll(declaration)].map(([, word = '', name = '']) => ({
    name,
    isType: word === 'interface' || word === 'type',
  }))
}

/** The names that a file takes from others, by specifier; `*` for all of them. */
export function namesTaken(
  source: string,
): readonly { readonly specifier: string; readonly names: readonly string[] }[] {
  const statement = /^(?:import|export)\s+(?:type\s+)?([^'"`;]*?)\s+from\s+['"]([^'"]+)['"]/gm
  const found = [...source.matchAll(statement)].map(([, clause = '', specifier = '']) => {
    const braces = /\{([\s\S]*)\}/.exec(clause)?.[1]
    const names = (braces ?? '')
      .split(',')
      .map((name) => /^(?:type\s+)?(\w+)/.exec(name.trim())?.[1] ?? '')
      .filter((name) => name !== '')
    return { specifier, names: braces === undefined ? ['*'] : names }
  })
  // A dynamic import or a worker's address: whatever the file may take from it.
  const other = /(?:\bimport\(\s*|\bimport type |typeof import\()['"]([^'"]+)['"]/g
  return [...found, ...[...source.matchAll(other)].map((match) => ({ specifier: match[1] ?? '', names: ['*'] }))]
}
