/** Where no thread can begin, as in a pod at its limit of processes: who needs one does without for a while. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const source = (path: string): string => JSON.stringify(fileURLToPath(new URL(`../../src/${path}`, import.meta.url)))

/** What a process says that has no thread to spare. Root has no limit of its own: it becomes somebody without any. */
function withoutThreads(script: string): unknown {
  const limited = `
    execFileSync('prlimit', ['--pid', String(process.pid), '--nproc=1'])
    if (process.getuid() === 0) process.setuid(54321)
    ${script}`
  const words = ['--input-type=module', '-e', `import { execFileSync } from 'node:child_process'\n${limited}`]
  return JSON.parse(execFileSync(process.execPath, words, { encoding: 'utf8', timeout: 60_000 }))
}

test('BFD is idle and says why while its thread cannot begin, and the speaker lives', () => {
  const told = withoutThreads(`
    const { PathWatcher } = await import(${source('bfd/thread/path-watcher.ts')})
    const watcher = new PathWatcher(new SharedArrayBuffer(1024))
    const settings = { detectMultiplier: 3, transmitIntervalMs: 300, receiveIntervalMs: 300, isPassive: false }
    let times = 0
    watcher.watch({ peer: '192.0.2.2', isMultihop: false }, settings, ({ problem }) => {
      if (++times < 2) return
      console.log(JSON.stringify(problem))
      process.exit(0)
    })
    setInterval(() => {}, 1000)`)
  assert.match(String(told), /^the thread of BFD cannot begin: .*EAGAIN/, 'once more after a second')
})

test('who asks for flow events that no thread can read is told so, and takes nobody the room', () => {
  const told = withoutThreads(`
    const { FlowsThread } = await import(${source('flows/flows-thread.ts')})
    const warned = []
    const options = { mapsFolder: '/none', nodeName: 'node1', names: () => ({}), warn: (text) => warned.push(text) }
    const flows = new FlowsThread({ ...options, isAlways: true })
    const codes = Array.from({ length: 20 }, () => {
      const query = { follow: true, allow: {}, deny: {} }
      try { flows.observe(query, { write() {}, end() {} }) } catch ({ message }) { return message }
    })
    console.log(JSON.stringify([warned.length, [...new Set(codes)]]))
    process.exit(0)`)
  const [warned, texts] = told as readonly [number, readonly string[]]
  assert.equal(warned, 1)
  assert.equal(texts.length, 1, 'the last one is told the same as the first')
  assert.match(texts[0] ?? '', /^no thread can begin that reads flow events \(.*EAGAIN/)
})
