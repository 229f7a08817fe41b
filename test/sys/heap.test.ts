import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { unwritten } from '../../src/sys/heap.ts'

const heap = JSON.stringify(fileURLToPath(new URL('../../src/sys/heap.ts', import.meta.url)))
const wait = JSON.stringify(fileURLToPath(new URL('../wait.ts', import.meta.url)))
const run = (script: string, ...flags: readonly string[]): string =>
  execFileSync(process.execPath, [...flags, '--input-type=module', '--eval', script], {
    encoding: 'utf8',
    timeout: 60_000,
  })
test('memory of a burst is given back', () => {
  // The engine keeps free pages at hand for some seconds.
  const script = `import { readFileSync } from 'node:fs'
    const { collectGarbage, giveMemoryBack } = await import(${heap})
    const { waitFor } = await import(${wait})
    const anonymous = () => Number(/RssAnon:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024
    let all = Array.from({ length: 40_000 }, (_, i) => ({ name: 'object ' + i, list: new Array(100).fill(i) }))
    all = undefined
    const before = anonymous()
    collectGarbage()
    const isGivenBack = async () => {
      await giveMemoryBack()
      return before - anonymous() > 16
    }
    await waitFor('16 MiB of more than 32 for the objects', isGivenBack, { everyMs: 200 })`
  run(script)
})

test('collections of all garbage are counted while they are watched, and not those of young objects', () => {
  const script = `const { collectGarbage, watchCollections } = await import(${heap})
    const turns = async (isOver) => {
      for (let left = 10_000; left > 0 && !isOver(); left--) await new Promise(setImmediate)
    }
    const collections = watchCollections()
    for (let i = 0; i < 3; i++) gc({ type: 'minor', execution: 'sync' })
    let left = 20
    await turns(() => --left === 0)
    const young = collections.count
    collectGarbage()
    await turns(() => collections.count === 1)
    collectGarbage()
    await turns(() => collections.count === 2)
    const all = collections.count
    collections.end()
    collectGarbage()
    left = 20
    await turns(() => --left === 0)
    process.stdout.write(JSON.stringify({ young, all, after: collections.count }))`
  assert.deepEqual(JSON.parse(run(script, '--expose-gc')), { young: 0, all: 2, after: 2 })
})

test('program pages that only the start needed are let go, and the program runs on', () => {
  const script = `import { readFileSync } from 'node:fs'
    const { giveMemoryBack } = await import(${heap})
    const mapped = () => Number(/RssFile:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024
    const before = mapped()
    await giveMemoryBack()
    await import('node:http')
    process.stdout.write(JSON.stringify({ before, after: mapped() }))`
  const { before, after } = JSON.parse(run(script))
  assert.ok(before - after > 10, `${before} MiB of files before, ${after} MiB after`)
})

test('of mappings only those of files are let go that nothing was and can be written to', () => {
  const mapping = (line: string, anonymousKb: number): string =>
    `${line}\nSize:  4 kB\nAnonymous:      ${anonymousKb} kB\nVmFlags: rd mr mw me\n`
  const smaps = [
    mapping('00400000-00800000 r-xp 00000000 fe:00 24 /usr/bin/node', 0),
    mapping('00800000-00900000 r--p 00400000 fe:00 24 /usr/bin/node', 8),
    mapping('00900000-00a00000 rw-p 00400000 fe:00 24 /usr/bin/node', 0),
    mapping('00a00000-00b00000 r--s 00400000 fe:00 24 /usr/bin/node', 0),
    mapping('00b00000-00c00000 r-xp 00000000 00:00 0', 0),
    mapping('7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0                          [vdso]', 0),
    mapping('7fff00000000-7fff00001000 r--p 00001000 fe:00 25                         /usr/lib/libc.so.6', 0),
  ].join('')
  assert.deepEqual(
    [...unwritten(smaps)],
    [
      { start: 0x400000n, end: 0x800000n },
      { start: 0x7fff00000000n, end: 0x7fff00001000n },
    ],
  )
})

test('a thread has a young generation of its own size, however large that of the main thread may become', () => {
  // Enough lives on at a time for the engine to make room up to the limit, which takes some rounds. It goes beyond it
  // for as long as a collection has to wait, by as much as is asked for: what it comes back to is the size.
  const fill = `const { getHeapSpaceStatistics } = require('node:v8')
    const youngMiB = () => {
      const sizes = []
      for (let round = 0; round < 40; round++) {
        const all = []
        while (all.length < 60_000) all.push({ i: all.length })
        sizes.push(getHeapSpaceStatistics().find((s) => s.space_name === 'new_space').space_size / 2 ** 20)
      }
      return Math.min(...sizes.slice(20))
    }`
  const script = `const { keepThreadsSmall } = await import(${heap})
    const { createRequire } = await import('node:module')
    const { Worker } = await import('node:worker_threads')
    const require = createRequire(import.meta.url)
    ${fill}
    const inThread = () => new Promise((resolve) => new Worker(${JSON.stringify(fill)} +
      "\\nrequire('node:worker_threads').parentPort.postMessage(youngMiB())", { eval: true, execArgv: [] }).once('message', resolve))
    const before = await inThread()
    keepThreadsSmall()
    process.stdout.write(JSON.stringify([before, await inThread(), youngMiB()]))`
  const [before, after, main] = JSON.parse(run(script, '--max-semi-space-size=4'))
  assert.ok(before > 5 && before < 10, `${before} MiB of a thread without it`)
  assert.ok(after < 5, `${after} MiB of a thread`)
  assert.ok(main > 5 && main < 10, `${main} MiB of the main thread`)
})
