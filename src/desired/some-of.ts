/** The beginning of a list for people: what one Service may have in it is more than anybody reads. Pure. */

const most = 8

export function someOf(texts: readonly string[]): readonly string[] {
  return texts.length <= most ? texts : [...texts.slice(0, most), `and ${texts.length - most} more like these`]
}
