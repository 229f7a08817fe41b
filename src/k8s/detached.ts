/** A copy that does not keep the text of the file, of which it was cut, in memory. Pure. */
export function detached(text: string): string {
  return Buffer.from(text).toString()
}
