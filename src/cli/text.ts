/** Text for people: nothing that a peer or an object says reaches the terminal raw. */
import { styleText } from 'node:util'
import { unprintable } from '../api/unprintable.ts'

/** `text` with everything escaped that moves the cursor, hides, or turns the direction: `\x1b`, `\u{202e}`. */
export function printable(text: string): string {
  return text.replace(unprintable, (character) => {
    const hex = (character.codePointAt(0) ?? 0).toString(16)
    return hex.length <= 2 ? `\\x${hex.padStart(2, '0')}` : `\\u{${hex}}`
  })
}

/** Whether text of several lines can go to a terminal as it is. */
export function isPrintable(text: string): boolean {
  return text.replaceAll('\n', '').search(unprintable) < 0
}

/** JSON in which what is not printable is written as `\uXXXX`, which every reader of JSON undoes. */
export function asciiJson(value: unknown, indent = 2): string {
  const escaped = (text: string): string =>
    text
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join('')
  return `${JSON.stringify(value, null, indent)
    .split('\n')
    .map((line) => line.replace(unprintable, escaped))
    .join('\n')}\n`
}

/** Marks that sit on the character before them. */
const zeroWidth = /^(?:\p{Mn}|\p{Me}|\p{Cf})$/u
const wide =
  /^(?:\p{Script=Han}|\p{Script=Hiragana}|\p{Script=Katakana}|\p{Script=Hangul}|\p{Emoji_Presentation}|[\u3000-\u303e\uff01-\uff60\uffe0-\uffe6])$/u
const plain = /^[\x20-\x7e]*$/

/** Columns of a terminal that printable text takes (Unicode annex 11, without ambiguous width). */
export function displayWidth(text: string): number {
  if (plain.test(text)) return text.length
  let width = 0
  for (const character of text) width += zeroWidth.test(character) ? 0 : wide.test(character) ? 2 : 1
  return width
}

/** Printable text in a colour where stdout is a terminal that wants it (NO_COLOR and FORCE_COLOR are heard). */
export function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return styleText(style, printable(text), { stream: process.stdout })
}

/** The API names peers `<local AS>/<address>`; people name them by address. */
export function addressOfPeer(id = '-'): string {
  return id.slice(id.indexOf('/') + 1)
}

/** How long nothing was heard: `47 s`, and from two minutes on as an age. */
export function silenceText(seconds: number): string {
  return seconds < 120 ? `${seconds} s` : formatDuration(seconds)
}

/** `45s`, `5m32s`, `3h7m`, `12d4h`: the two largest units, as kubectl shows ages. */
export function formatDuration(seconds: number): string {
  const units: readonly [string, number][] = [
    ['d', 86_400],
    ['h', 3_600],
    ['m', 60],
    ['s', 1],
  ]
  const first = units.findIndex(([, size]) => seconds >= size)
  if (first < 0) return '0s'
  const [name, size] = units[first] ?? ['s', 1]
  const [nextName, nextSize] = units[first + 1] ?? ['', 0]
  const rest = nextSize === 0 ? 0 : Math.floor((seconds % size) / nextSize)
  return `${Math.floor(seconds / size)}${name}${rest > 0 ? `${rest}${nextName}` : ''}`
}
