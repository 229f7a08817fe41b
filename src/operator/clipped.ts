/** The API limits texts by their octets in UTF-8, not by their characters. Pure. */

const mark = '...'

/** At most so many octets, never half a character: what the API server keeps is what was sent. */
export function clipped(text: string, maxOctets: number): string {
  // A unit of UTF-16 has three octets at most.
  if (3 * text.length <= maxOctets) return text.toWellFormed()
  const octets = new TextEncoder().encode(text)
  if (octets.length <= maxOctets) return text.toWellFormed()
  let end = maxOctets - mark.length
  while (((octets[end] ?? 0) & 0xc0) === 0x80) end--
  return `${new TextDecoder().decode(octets.subarray(0, end))}${mark}`
}
