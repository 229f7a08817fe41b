/**
 * How much of the stack a program takes at most, as Linux up to 6.7 counts it (check_max_stack_depth): along each path
 * of calls the frames of all functions, each a multiple of 32 octets. Later ones count multiples of 16, so that a
 * program which loads there may be refused by them.
 */

const frameUnit = 32
/** BPF_JMP | BPF_CALL, of a function of the program and not a helper (BPF_PSEUDO_CALL). */
const [callCode, ofProgram] = [0x85, 1]

interface Listed {
  depth: number
  /** Sections and offsets of the functions that it calls, or the names of those. */
  readonly calls: string[]
}

const place = (section: string, octets: number): string => `${section}+${octets}`

/** The functions of `llvm-objdump -d -r`, by name and by place. */
function listedFunctions(listing: readonly string[]): ReadonlyMap<string, Listed> {
  const functions = new Map<string, Listed>()
  let [section, before]: [string, string] = ['', '']
  let current: Listed = { depth: 0, calls: [] }
  /** What an instruction that calls says by itself, until a relocation says more. */
  let immediate: number | undefined
  for (const line of listing) {
    section = /^Disassembly of section (\S+):/.exec(line)?.[1] ?? section
    const [, at, name] = /^([\da-f]+) <(\w+)>:$/.exec(line) ?? []
    if (at !== undefined && name !== undefined && !name.startsWith('LBB')) {
      current = { depth: 0, calls: [] }
      for (const key of [name, place(section, Number.parseInt(at, 16))]) functions.set(key, current)
    }
    const target = /R_BPF_64_32\s+(\S+)/.exec(line)?.[1]
    if (target !== undefined && immediate !== undefined) {
      current.calls.pop()
      current.calls.push(target.startsWith('.') ? place(target, (immediate + 1) * 8) : target)
    }
    immediate = undefined
    const [, number, octets, text = ''] = /^(\d+):\s+((?:[\da-f]{2}\s){8})\s*(.*)$/.exec(line) ?? []
    if (number === undefined || octets === undefined) continue
    const code = Buffer.from(octets.replace(/\s/g, ''), 'hex')
    if (code.readUInt8(0) === callCode && code.readUInt8(1) >> 4 === ofProgram) {
      immediate = code.readInt32LE(4)
      current.calls.push(place(section, (Number(number) + 1 + immediate) * 8))
    }
    const used = /r10 - (\w+)/.exec(text)?.[1] ?? (/= r10$/.test(before) ? /\+= -(\w+)$/.exec(text)?.[1] : undefined)
    current.depth = Math.max(current.depth, Number(used ?? 0))
    before = text
  }
  return functions
}

/** Octets of the deepest path of calls from this function on, and the functions on it. */
export function stackDepth(listing: readonly string[], program: string): readonly [number, readonly string[]] {
  const functions = listedFunctions(listing)
  const names = new Map([...functions].filter(([key]) => /^\w+$/.test(key)).map(([name, each]) => [each, name]))
  const known = new Map<Listed, readonly [number, readonly string[]]>()
  const from = (listed: Listed): readonly [number, readonly string[]] => {
    const found = known.get(listed)
    if (found !== undefined) return found
    let deepest: readonly [number, readonly string[]] = [0, []]
    for (const call of listed.calls) {
      const called = functions.get(call)
      if (called === undefined) throw new Error(`${program} calls ${call}, which is not listed`)
      const path = from(called)
      if (path[0] > deepest[0]) deepest = path
    }
    const own = Math.max(frameUnit, Math.ceil(listed.depth / frameUnit) * frameUnit)
    const whole = [own + deepest[0], [names.get(listed) ?? '', ...deepest[1]]] as const
    known.set(listed, whole)
    return whole
  }
  const first = functions.get(program)
  if (first === undefined) throw new Error(`${program} is not listed`)
  return from(first)
}
