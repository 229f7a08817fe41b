/**
 * What a plain scalar of YAML means to Kubernetes: sigs.k8s.io/yaml resolves as go-yaml 2 does, which is YAML 1.1 but
 * for base 60 (65000:100 stays text) and timestamps (text too). Pure.
 */

const words = new Map<string, boolean | null | number>([
  ...['y', 'Y', 'yes', 'Yes', 'YES', 'on', 'On', 'ON', 'true', 'True', 'TRUE'].map((word) => [word, true] as const),
  ...['n', 'N', 'no', 'No', 'NO', 'off', 'Off', 'OFF', 'false', 'False', 'FALSE'].map((word) => [word, false] as const),
  ...['', '~', 'null', 'Null', 'NULL'].map((word) => [word, null] as const),
  ...['.nan', '.NaN', '.NAN'].map((word) => [word, Number.NaN] as const),
  ...['.inf', '.Inf', '.INF', '+.inf', '+.Inf', '+.INF'].map((word) => [word, Number.POSITIVE_INFINITY] as const),
  ...['-.inf', '-.Inf', '-.INF'].map((word) => [word, Number.NEGATIVE_INFINITY] as const),
])

const longestWord = 5

const float = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/
const decimal = /^[-+]?(?:0|[1-9][0-9]*)$/
const based: readonly (readonly [RegExp, number])[] = [
  [/^([-+]?)0[xX]([0-9a-fA-F]+)$/, 16],
  [/^([-+]?)0[bB]([01]+)$/, 2],
  [/^([-+]?)0[oO]?([0-7]+)$/, 8],
]

export type Scalar = string | number | boolean | null

export function resolvePlain(text: string): Scalar {
  const word = text.length > longestWord ? undefined : words.get(text)
  if (word !== undefined) return word
  const first = text.charCodeAt(0)
  const isDigit = first >= 48 && first <= 57
  // '+', '-' and '.'
  if (!isDigit && first !== 43 && first !== 45 && first !== 46) return text
  const plain = first === 46 ? text : text.replaceAll('_', '')
  // There is one zero.
  if (decimal.test(plain)) return Number(plain) + 0
  for (const [pattern, base] of based) {
    const match = pattern.exec(plain)
    if (match?.[2] !== undefined) return Number.parseInt(match[2], base) * (match[1] === '-' ? -1 : 1) + 0
  }
  return float.test(plain) ? Number(plain) + 0 : text
}

/** A scalar as the key of a mapping; undefined for null, which Kubernetes takes for none. */
export function keyText(scalar: Scalar): string | undefined {
  return scalar === null ? undefined : String(scalar)
}
