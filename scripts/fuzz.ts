/**
 * `npm run fuzz [-- MESSAGES [SEED]]`: ten million mutated messages through the decoder, a new seed each time, in
 * slices with a line each.
 */
import { spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { asksForHelp, refuse } from './setup/arguments.ts'

const usage = 'npm run fuzz [-- MESSAGES [SEED]]'
const words = process.argv.slice(2)
const wrong = words.filter((word) => !/^\d{1,12}$/.test(word))
if (words.length > 2 || wrong.length > 0 || Number(words[0]) === 0) {
  const isHelp = asksForHelp(words)
  process.exit(refuse(usage, isHelp ? undefined : `how many messages and a seed are wanted, not ${words.join(' ')}`))
}

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const total = Number(words[0] ?? 10_000_000)
const seed = Number(words[1] ?? randomInt(2 ** 31))
const slice = 1_000_000

let done = 0
for (let part = 0; done < total; part++) {
  const messages = Math.min(slice, total - done)
  const startedAt = performance.now()
  const { status, stdout } = spawnSync(process.execPath, ['--test', join(root, 'test/fuzz/messages.test.ts')], {
    encoding: 'utf8',
    env: { ...process.env, HERALD_FUZZ_MESSAGES: String(messages), HERALD_FUZZ_SEED: String(seed + part) },
  })
  if (status !== 0) {
    console.error(
      `${stdout}\nfailed with seed ${seed + part}: HERALD_FUZZ_SEED=${seed + part} npm test -- ` +
        `test/fuzz/messages.test.ts`,
    )
    process.exit(1)
  }
  done += messages
  console.log(
    `${done} of ${total} messages, seed ${seed + part}, ${((performance.now() - startedAt) / 1000).toFixed(1)} s`,
  )
}
console.log(
  `${total} mutated messages: none crashed, hung, was read beyond its end or judged more mildly than RFC 7606 asks`,
)
