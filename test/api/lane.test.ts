/** The lane against a model: who runs, who waits and who is told to come again, in any order of coming and ending. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Lane } from '../../src/api/lane.ts'
import { HeraldError } from '../../src/errors.ts'

const limits = { maxRunning: 2, maxWaiting: 3 }

/** Work that ends when it is told to. */
class Works {
  readonly started: string[] = []
  readonly outcomes: string[] = []
  readonly #ends = new Map<string, (fails: boolean) => void>()
  readonly #lane = new Lane<string>(limits)

  ask(key: string): void {
    const asked = this.#lane.run(key, () => {
      this.started.push(key)
      return new Promise((resolve, reject) =>
        this.#ends.set(key, (fails) => (fails ? reject(new TypeError(key)) : resolve(`answer ${key}`))),
      )
    })
    asked.then(
      (answer) => this.outcomes.push(answer),
      (error: unknown) => this.outcomes.push(error instanceof HeraldError ? error.code : `failed ${key}`),
    )
  }

  end(key: string, fails: boolean): void {
    const end = this.#ends.get(key)
    this.#ends.delete(key)
    end?.(fails)
  }
}

interface Model {
  running: string[]
  waiting: string[]
  outcomes: string[]
  /** How many askers share an answer. */
  askers: Map<string, number>
}

function ask(model: Model, key: string): void {
  const askers = model.askers.get(key)
  if (askers !== undefined) model.askers.set(key, askers + 1)
  else if (model.running.length < limits.maxRunning) {
    model.running.push(key)
    model.askers.set(key, 1)
  } else if (model.waiting.length < limits.maxWaiting) {
    model.waiting.push(key)
    model.askers.set(key, 1)
  } else model.outcomes.push('ERR_BUSY')
}

function end(model: Model, key: string, fails: boolean): void {
  if (!model.running.includes(key)) return
  model.running = model.running.filter((other) => other !== key)
  const [next, ...others] = model.waiting
  if (next !== undefined) model.running.push(next)
  model.waiting = others
  for (let i = 0; i < (model.askers.get(key) ?? 0); i++) model.outcomes.push(fails ? `failed ${key}` : `answer ${key}`)
  model.askers.delete(key)
}

const key = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g')
const step = fc.oneof(
  fc.record({ what: fc.constant('ask' as const), key }, { noNullPrototype: true }),
  fc.record({ what: fc.constant('end' as const), key, fails: fc.boolean() }, { noNullPrototype: true }),
)
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('two run, three wait, equal questions share an answer, the rest is told to come again', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async (steps) => {
      const works = new Works()
      const model: Model = { running: [], waiting: [], outcomes: [], askers: new Map() }
      const started: string[] = []
      for (const each of steps) {
        const before = new Set(model.running)
        if (each.what === 'ask') {
          works.ask(each.key)
          ask(model, each.key)
        } else {
          works.end(each.key, each.fails)
          end(model, each.key, each.fails)
        }
        await settled()
        started.push(...model.running.filter((one) => !before.has(one)))
        assert.deepEqual(works.started, started)
        assert.deepEqual(works.outcomes, model.outcomes)
      }
    }),
    { numRuns: 200 },
  )
})

test('an answer is not kept: who asks after it was given is answered anew', async () => {
  const lane = new Lane<number>(limits)
  let works = 0
  const ask = (): Promise<number> => lane.run('same', async () => ++works)
  assert.deepEqual(await Promise.all([ask(), ask()]), [1, 1])
  assert.equal(await ask(), 2)
})

test('work that throws before it waits for anything frees its place', async () => {
  const lane = new Lane<number>({ maxRunning: 1, maxWaiting: 0 })
  for (let i = 0; i < 3; i++)
    await assert.rejects(
      lane.run('a', () => {
        throw new TypeError('at once')
      }),
      /at once/,
    )
  assert.equal(await lane.run('a', async () => 7), 7)
})
