/** Reads Prometheus' text exposition format 0.0.4, strictly: what it does not understand it throws at. */
import assert from 'node:assert/strict'

export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Family {
  readonly name: string
  readonly help: string
  readonly type: string
  readonly samples: readonly Sample[]
}

const labelPattern = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y

export function parseExposition(text: string): Map<string, Family> {
  if (!text.endsWith('\n')) throw new Error('the last line does not end')
  const families = new Map<string, { name: string; help: string; type: string; samples: Sample[] }>()
  const series = new Set<string>()
  let current: { name: string; help: string; type: string; samples: Sample[] } | undefined
  for (const line of text.split('\n').filter((found) => found !== '')) {
    const help = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/.exec(line)
    const type = /^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram|summary|untyped)$/.exec(line)
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|NaN)$/.exec(line)
    if (help !== null) {
      const name = help[1] ?? ''
      if (families.has(name)) throw new Error(`${name} comes twice`)
      current = { name, help: help[2] ?? '', type: '', samples: [] }
      families.set(name, current)
    } else if (type !== null) {
      if (current?.name !== type[1] || current === undefined) throw new Error(`TYPE without HELP: ${line}`)
      current.type = type[2] ?? ''
    } else if (sample !== null) {
      if (current?.name !== sample[1] || current === undefined) throw new Error(`sample outside its family: ${line}`)
      const found = { name: current.name, labels: parseLabels(sample[2] ?? ''), value: Number(sample[3]) }
      const key = JSON.stringify([found.name, ...Object.entries(found.labels).sort()])
      if (series.has(key)) throw new Error(`the same series twice: ${line}`)
      series.add(key)
      current.samples.push(found)
    } else throw new Error(`not understood: ${line}`)
  }
  return families
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  labelPattern.lastIndex = 0
  while (labelPattern.lastIndex < text.length) {
    const match = labelPattern.exec(text)
    if (match === null) throw new Error(`labels not understood: ${text}`)
    labels[match[1] ?? ''] = (match[2] ?? '').replace(/\\(.)/g, (_, character: string) =>
      character === 'n' ? '\n' : character,
    )
  }
  return labels
}

export function value(
  families: ReadonlyMap<string, Family>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const family = families.get(name)
  assert.ok(family, `${name} is missing`)
  return family.samples.find((sample) => Object.entries(labels).every(([key, wanted]) => sample.labels[key] === wanted))
    ?.value
}
