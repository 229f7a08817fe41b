import { partName } from './cilium-bgp.ts'

/** One field of what somebody wrote, whatever it is. Pure. */
export function fieldOf(entry: unknown, name: string): unknown {
  return typeof entry === 'object' && entry !== null && Object.hasOwn(entry, name)
    ? Reflect.get(entry, name)
    : undefined
}

/** The name by which a part of a list is known; what is none may stand for any part that is not written any more. */
export function nameOf(entry: unknown): string | undefined {
  const { data } = partName.safeParse(fieldOf(entry, 'name'))
  return data
}
