/** One copy of what many objects say alike: names of nodes, keys of labels, ports. Pure. */
const textLimit = 1 << 14
const valueLimit = 1 << 10
const texts = new Map<string, string>()

/** The same text, kept once. */
export function sharedText(text: string): string {
  const found = texts.get(text)
  if (found !== undefined) return found
  if (texts.size >= textLimit) texts.clear()
  texts.set(text, text)
  return text
}

const values = new Map<string, unknown>()

/** An equal value, kept once; `value` is made of plain JSON. */
export function sharedValue<T extends object>(value: T): T {
  const key = JSON.stringify(value)
  const found = values.get(key)
  // Equal text is of an equal value.
  if (found !== undefined) return found as T
  if (values.size >= valueLimit) values.clear()
  values.set(key, value)
  return value
}
