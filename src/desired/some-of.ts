/** The beginning of a list for people: what one Service may have in it is more than anybody reads. Pure. */

const most = 8

export function someOf(texts: readonly string[]): readonly string[] {
  return texts.length <= most ? texts : [...texts.slice(0, most), `and ${texts.length - most} more like these`]
}

/** The first of them in order, each once: of ten thousand the others are neither kept nor sorted. */
export function firstInOrder(texts: Iterable<string>, atMost: number): readonly string[] {
  const first: string[] = []
  for (const text of texts) {
    let at = first.length
    while (at > 0 && text < (first[at - 1] ?? '')) at--
    if (at === atMost || (at > 0 && first[at - 1] === text)) continue
    first.splice(at, 0, text)
    first.length = Math.min(first.length, atMost)
  }
  return first
}
