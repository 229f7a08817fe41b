/** One field of what somebody wrote, whatever it is. Pure. */
export function fieldOf(entry: unknown, name: string): unknown {
  return typeof entry === 'object' && entry !== null && Object.hasOwn(entry, name)
    ? Reflect.get(entry, name)
    : undefined
}

/** The name by which a part of a list is known. */
export function nameOf(entry: unknown): string | undefined {
  const name = fieldOf(entry, 'name')
  return typeof name === 'string' && name !== '' ? name : undefined
}
