/**
 * How Linux up to 6.1 walks the instructions of a program before all else (check_cfg): depth first, and what follows
 * before what is jumped to. Only a jump may lead back to an instruction on the path of the walk. The compiler makes
 * loops that are entered behind their first instruction, and there the one in front of the entry leads back by itself.
 */

interface Edge {
  readonly to: number
  readonly isJump: boolean
}

/** The number of an instruction to what it is, as `llvm-objdump -d` prints one function. */
export type FunctionCode = ReadonlyMap<number, string>

/** The functions of a listing: name to code. */
export function functionsOf(listing: readonly string[]): ReadonlyMap<string, FunctionCode> {
  const functions = new Map<string, Map<number, string>>()
  let code = new Map<number, string>()
  for (const line of listing) {
    const name = /^[\da-f]+ <(.*)>:$/.exec(line)?.[1]
    // A label within a function.
    if (name !== undefined && !name.startsWith('LBB')) functions.set(name, (code = new Map()))
    const [, number, text] = /^(\d+):\s+(.*)$/.exec(line) ?? []
    if (number !== undefined && text !== undefined) code.set(Number(number), text)
  }
  return functions
}

/** The instructions of a function that lead back without a jump. */
export function backEdges(code: FunctionCode): readonly string[] {
  const numbers = [...code.keys()]
  const following = new Map(numbers.map((number, index) => [number, numbers[index + 1] ?? -1]))
  const edgesOf = (at: number): Edge[] => {
    const text = code.get(at) ?? ''
    if (text === 'exit') return []
    const next = following.get(at) ?? -1
    const target = /goto ([+-]\d+)/.exec(text)?.[1]
    if (target === undefined) return [{ to: next, isJump: false }]
    const jump = { to: at + 1 + Number(target), isJump: true }
    return text.startsWith('goto') ? [jump] : [{ to: next, isJump: true }, jump]
  }
  const found: string[] = []
  const [first = 0] = numbers
  const seen = new Map<number, 'on the path' | 'done'>([[first, 'on the path']])
  const path = [{ at: first, edges: edgesOf(first) }]
  for (let here = path.at(-1); here !== undefined; here = path.at(-1)) {
    const edge = here.edges.shift()
    const known = edge === undefined ? undefined : seen.get(edge.to)
    if (edge === undefined) {
      seen.set(here.at, 'done')
      path.pop()
    } else if (known === undefined) {
      seen.set(edge.to, 'on the path')
      path.push({ at: edge.to, edges: edgesOf(edge.to) })
    } else if (known === 'on the path' && !edge.isJump) found.push(`${here.at}: ${code.get(here.at) ?? ''}`)
  }
  return found
}
