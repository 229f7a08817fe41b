/** The types that a compiled object names, by bpftool. */
import { execFileSync } from 'node:child_process'

interface BtfType {
  readonly kind: string
  readonly name: string
  readonly size?: number
  readonly members?: readonly { readonly name: string; readonly bits_offset: number }[]
}

export interface Btf {
  /** Why there is none. */
  readonly skip: string | false
  readonly variables: readonly string[]
  struct(name: string): BtfType | undefined
}

/** `build` answers the path of the object. */
export function readBtf(build: () => string): Btf {
  const types = typesOf(build)
  if (typeof types === 'string') return { skip: types, variables: [], struct: () => undefined }
  return {
    skip: false,
    variables: types.filter(({ kind }) => kind === 'VAR').map(({ name }) => name),
    struct: (name) => types.find((type) => type.kind === 'STRUCT' && type.name === name),
  }
}

function typesOf(build: () => string): readonly BtfType[] | string {
  try {
    const dump: { readonly types: readonly BtfType[] } = JSON.parse(
      execFileSync('bpftool', ['btf', 'dump', '-j', 'file', build()], { encoding: 'utf8' }),
    )
    return dump.types
  } catch (error) {
    return `needs clang, libbpf-dev and bpftool: ${String(error).split('\n')[0]}`
  }
}
