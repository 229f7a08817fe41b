/** The sum of a value, whatever the order of its keys, within bounds: it tells one version from the next. Pure. */
import { maxDepth, type Path } from './yaml.ts'

/** More values than any object that an API server takes. */
const maxValues = 200_000

export interface FingerprintFault {
  readonly path: Path
  readonly message: string
}

/**
 * Some 50 bits, or what is against the value. An alias counts where it stands, so that one of an alias without end is
 * refused.
 */
export function fingerprintOf(value: unknown): number | FingerprintFault {
  const sum = new Sum()
  sum.add(value)
  return sum.fault ?? (sum.high >>> 11) * 2 ** 32 + (sum.low >>> 0)
}

/** Of each kind of value another beginning, so that "1" is not 1 and [] is not {}. */
const seeds = { text: 1, number: 2, word: 3, list: 4, mapping: 5 } as const

/** Two sums of 32 bits side by side, of which 53 bits fit in a number. */
class Sum {
  low = 0
  high = 0
  fault: FingerprintFault | undefined
  #values = 0
  readonly #path: (string | number)[] = []

  /** The sums are those of `value` then. */
  add(value: unknown): void {
    this.#values++
    if (this.fault !== undefined) return
    if (this.#values > maxValues) this.#refuse(`the object has more than ${maxValues} values: aliases (*) multiply`)
    else if (typeof value === 'string') this.#text(seeds.text, value)
    else if (typeof value === 'number' && !Number.isFinite(value)) this.#refuse('a number is infinite or none')
    else if (typeof value === 'number') this.#text(seeds.number, String(value))
    else if (typeof value !== 'object' || value === null) this.#text(seeds.word, String(value ?? null))
    else if (this.#path.length >= maxDepth) this.#refuse(`more than ${maxDepth} collections stand inside each other`)
    else if (Array.isArray(value)) this.#list(value)
    else this.#mapping(value as Readonly<Record<string, unknown>>)
  }

  #refuse(message: string): void {
    this.fault ??= { path: [...this.#path], message }
  }

  #text(seed: number, text: string): void {
    let low = 0x9e3779b9 ^ seed
    let high = 0x85ebca6b ^ seed
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at)
      low = Math.imul(low ^ code, 0x9e3779b1)
      low ^= low >>> 15
      high = Math.imul(high ^ code, 0x5f356495)
      high ^= high >>> 13
    }
    this.low = low
    this.high = high
  }

  #mix(low: number, high: number): void {
    this.low = mixed(Math.imul(this.low, 0x9e3779b1) + low)
    this.high = mixed(Math.imul(this.high, 0x5f356495) + high)
  }

  #list(list: readonly unknown[]): void {
    let low = 0x9e3779b9 ^ seeds.list
    let high = 0x85ebca6b ^ seeds.list
    for (let index = 0; index < list.length; index++) {
      this.#below(index, list[index])
      low = mixed(Math.imul(low, 0x9e3779b1) + this.low)
      high = mixed(Math.imul(high, 0x5f356495) + this.high)
    }
    this.low = low
    this.high = high
    // Else a list would be as one that begins with it.
    this.#mix(list.length, list.length)
  }

  /** Added up, so that no order counts. */
  #mapping(mapping: Readonly<Record<string, unknown>>): void {
    let low = 0x9e3779b9 ^ seeds.mapping
    let high = 0x85ebca6b ^ seeds.mapping
    for (const key of Object.keys(mapping)) {
      this.#below(key, mapping[key])
      const [valueLow, valueHigh] = [this.low, this.high]
      this.#text(seeds.mapping, key)
      this.#mix(valueLow, valueHigh)
      low = (low + this.low) | 0
      high = (high + this.high) | 0
    }
    this.low = mixed(low)
    this.high = mixed(high)
  }

  #below(step: string | number, value: unknown): void {
    this.#path.push(step)
    this.add(value)
    this.#path.pop()
  }
}

function mixed(sum: number): number {
  const turned = Math.imul(sum ^ (sum >>> 16), 0x45d9f3b)
  return turned ^ (turned >>> 15)
}
