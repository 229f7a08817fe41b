/** Maps of a compiled object, made and pinned by themselves, without its programs. */
import { type LibbpfCall, libbpfAside, libbpfInt, libbpfPointer, libbpfText, type Pointer } from './libbpf.ts'

export interface PinnedMap {
  readonly path: string
  /** Of what the object says where this is undefined. */
  readonly maxEntries: number | undefined
}

/**
 * In another thread. False: one of them cannot be made, and none of them is there by this call; why is said to whoever
 * loads the object without them.
 */
export async function makeMapsAside(objectFile: string, wanted: ReadonlyMap<string, PinnedMap>): Promise<boolean> {
  const object = libbpfPointer('bpf_object__open_file', objectFile, null)
  if (object === null) return false
  try {
    for (const program of partsOf('bpf_object__next_program', object))
      libbpfInt('bpf_program__set_autoload', program, false)
    let found = 0
    for (const map of partsOf('bpf_object__next_map', object)) {
      const pinned = wanted.get(libbpfText('bpf_map__name', map))
      if (pinned === undefined) libbpfInt('bpf_map__set_autocreate', map, false)
      else if (isPrepared(map, pinned)) found++
    }
    return found === wanted.size && (await libbpfAside('bpf_object__load', object)) >= 0
  } finally {
    libbpfPointer('bpf_object__close', object)
  }
}

function isPrepared(map: Pointer, { path, maxEntries }: PinnedMap): boolean {
  if (maxEntries !== undefined && libbpfInt('bpf_map__set_max_entries', map, maxEntries) !== 0) return false
  return libbpfInt('bpf_map__set_pin_path', map, path) === 0
}

function* partsOf(next: LibbpfCall, object: Pointer): Generator<Pointer> {
  for (let part = libbpfPointer(next, object, null); part !== null; part = libbpfPointer(next, object, part)) yield part
}
