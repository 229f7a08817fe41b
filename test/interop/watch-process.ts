/**
 * Watches one path by BFD until it is told to stop, in whatever namespace it runs: BfdPath and BfdSettings as
 * arguments, what is told as JSON lines, `configure {...}`, `busy MS` and `close` as lines of its input.
 */
import { createInterface } from 'node:readline'
import { BfdCounters } from '../../src/bfd/counters.ts'
import { PathWatcher } from '../../src/bfd/thread/path-watcher.ts'
import { standStill } from '../wait.ts'

const counters = new BfdCounters()
const [path = '{}', settings = '{}'] = process.argv.slice(2)
const print = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`)
const watch = new PathWatcher(counters.buffer).watch(JSON.parse(path), JSON.parse(settings), (report) =>
  print({ report }),
)
for await (const line of createInterface({ input: process.stdin })) {
  const [word = '', rest = ''] = line.split(/ (.*)/)
  if (word === 'configure') watch.configure(JSON.parse(rest))
  if (word === 'busy') standStill(Number(rest))
  if (word === 'close') watch.close(true)
  if (word === 'drops') print({ drops: counters.drops })
}
process.exit(0)
