import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { unwritten } from '../../src/sys/heap.ts'

const heap = JSON.stringify(fileURLToPath(new URL('../../src/sys/heap.ts', import.meta.url)))
/** MiB that are resident after 40 000 objects were dropped and `call` was made. */
const residentAfter = (call: string, ...flags: readonly string[]): number =>
  Number(
    execFileSync(
      process.execPath,
      [
        ...flags,
        '--input-type=module',
        '--eval',
        `const { ${call.slice(0, -2)} } = await import(${heap})
        let all = Array.from({ length: 40_000 }, (_, i) => ({ name: 'object ' + i, list: new Array(100).fill(i) }))
        all = undefined
        ${call}
        process.stdout.write(String(process.memoryUsage.rss() / 2 ** 20))`,
      ],
      { encoding: 'utf8' },
    ),
  )

test('memory of a burst is given back, and only where the engine was told to let us', () => {
  const kept = residentAfter('giveMemoryBack()')
  const given = residentAfter('giveMemoryBack()', '--expose-gc')
  assert.ok(kept - given > 15, `${kept} MiB without, ${given} MiB with --expose-gc`)
})

test('program pages that only the start needed are let go, and the program runs on', () => {
  const script = `import { readFileSync } from 'node:fs'
    const { giveMemoryBack } = await import(${heap})
    const mapped = () => Number(/RssFile:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024
    const before = mapped()
    giveMemoryBack()
    await import('node:http')
    process.stdout.write(JSON.stringify({ before, after: mapped() }))`
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8' })
  const { before, after } = JSON.parse(output)
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
