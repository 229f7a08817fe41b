/**
 * The first signal that asks this process to end, heard from as soon as there is code of ours: process 1 of a container
 * has no default for it, and one that nobody hears is lost. The second one does what it does to any process.
 */
export type EndSignal = 'SIGTERM' | 'SIGINT'

export class FirstSignal {
  #first: EndSignal | undefined
  #hear: (signal: EndSignal) => void = () => {}

  constructor() {
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.once(signal, () => {
        this.#first ??= signal
        this.#hear(this.#first)
      })
  }

  /** What came until now. */
  get first(): EndSignal | undefined {
    return this.#first
  }

  /** Told of what came already, too. */
  hear(told: (signal: EndSignal) => void): void {
    this.#hear = told
    if (this.#first !== undefined) told(this.#first)
  }
}

const place = Symbol.for('herald.firstSignal')

/** The one of this process, which hears from the first call on: its entry's file and its bundle each have this code. */
export function firstSignal(): FirstSignal {
  const known: FirstSignal | undefined = Reflect.get(process, place)
  if (known !== undefined) return known
  const made = new FirstSignal()
  Reflect.set(process, place, made)
  return made
}
