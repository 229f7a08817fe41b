/** A ring buffer that a program of the kernel writes, and its one reader: order, bounds, wrapping, room. */
import assert from 'node:assert/strict'
import { closeSync, readdirSync, readFileSync } from 'node:fs'
import { test, type TestContext } from 'node:test'
import { runProgram } from '../../src/sys/bpf.ts'
import { RingBuffer } from '../../src/sys/ring-buffer.ts'
import { createMap, loadProgram, whyNoBpf } from './raw-bpf.ts'

const skip = whyNoBpf()
/** A multiple of the pages of every machine. */
const ringBytes = 65_536
const frame = new Uint8Array(64)

/**
 * A program that writes the mark of a packet as the first of `length` octets of a record; an odd mark is thrown away
 * again. It answers 1 where the ring takes no more.
 */
function writerTo(t: TestContext, ring: number, length: number): (mark: number, repeat?: number) => number {
  const [reserve, submit, discard] = [131, 132, 133]
  const program = loadProgram([
    [0x61, 6, 1, 8, 0], // r6 = skb->mark
    [0x18, 1, 1, 0, ring], // r1 = the ring
    [0, 0, 0, 0, 0],
    [0xb7, 2, 0, 0, length],
    [0xb7, 3, 0, 0, 0],
    [0x85, 0, 0, 0, reserve],
    [0x55, 0, 0, 2, 0], // if there is room go on
    [0xb7, 0, 0, 0, 1],
    [0x95, 0, 0, 0, 0],
    [0x7b, 0, 6, 0, 0], // the record = r6
    [0xbf, 1, 0, 0, 0],
    [0xb7, 2, 0, 0, 1], // BPF_RB_NO_WAKEUP
    [0x57, 6, 0, 0, 1],
    [0x55, 6, 0, 3, 0], // if it is odd
    [0x85, 0, 0, 0, submit],
    [0xb7, 0, 0, 0, 0],
    [0x95, 0, 0, 0, 0],
    [0x85, 0, 0, 0, discard],
    [0xb7, 0, 0, 0, 0],
    [0x95, 0, 0, 0, 0],
  ])
  assert.ok(program >= 0, 'the program is loaded')
  t.after(() => closeSync(program))
  return (mark, repeat = 1) => runProgram(program, frame, repeat, mark).verdict
}

function ringOf(t: TestContext): { readonly fd: number; readonly ring: RingBuffer } {
  const fd = createMap('ring', 0, ringBytes, 0, 0)
  assert.ok(fd >= 0, 'the ring is made')
  const ring = new RingBuffer(fd)
  t.after(() => {
    ring.close()
    closeSync(fd)
  })
  return { fd, ring }
}

/** Marks of the records, each with its length; at most `limit` of them. */
function marksOf(ring: RingBuffer, limit = 100_000): readonly (readonly [mark: number, length: number])[] {
  const found: (readonly [number, number])[] = []
  const count = ring.read(limit, (data, at, length) => found.push([data.getUint32(at, true), length]))
  assert.equal(count, found.length)
  return found
}

test('records come in order with their own length, at most as many as are asked for, and each one once', {
  skip,
}, (t) => {
  const { fd, ring } = ringOf(t)
  const [short, odd, long] = [8, 13, 1_000].map((length) => writerTo(t, fd, length))
  assert.ok(short && odd && long)
  assert.deepEqual(marksOf(ring), [], 'nothing was written')
  for (const [i, write] of [short, odd, long, odd, short].entries()) assert.equal(write(2 * i), 0)
  assert.deepEqual(marksOf(ring, 0), [])
  assert.deepEqual(marksOf(ring, 2), [
    [0, 8],
    [2, 13],
  ])
  long(0xffff_fffe)
  assert.deepEqual(marksOf(ring), [
    [4, 1_000],
    [6, 13],
    [8, 8],
    [0xffff_fffe, 1_000],
  ])
  assert.deepEqual(marksOf(ring), [])
})

test('what the writer has thrown away is passed over, and takes nothing of the limit', { skip }, (t) => {
  const { fd, ring } = ringOf(t)
  const write = writerTo(t, fd, 8)
  for (const mark of [1, 2, 3, 5, 7, 4, 9]) write(mark)
  assert.deepEqual(marksOf(ring, 2), [
    [2, 8],
    [4, 8],
  ])
  assert.deepEqual(marksOf(ring), [], 'what is left was thrown away')
  write(6)
  assert.deepEqual(marksOf(ring), [[6, 8]])
  for (let mark = 1; mark < 400; mark += 2) write(mark)
  assert.equal(
    ring.read(1, () => assert.fail()),
    0,
  )
})

test('a record that lies over the end of the ring is read in one piece, round after round', { skip }, (t) => {
  const { fd, ring } = ringOf(t)
  // 24 and 1 008 octets with their headers: neither divides the ring.
  const writers = [13, 1_000].map((length) => [length, writerTo(t, fd, length)] as const)
  let mark = 0
  let octets = 0
  while (octets < 5 * ringBytes) {
    const expected: (readonly [number, number])[] = []
    for (let i = 0; i < 10; i++)
      for (const [length, write] of writers) {
        mark += 2
        assert.equal(write(mark), 0)
        expected.push([mark, length])
        octets += length
      }
    assert.deepEqual(marksOf(ring), expected)
  }
})

test('a ring that is full costs new records, and neither those in it nor those after', { skip }, (t) => {
  const { fd, ring } = ringOf(t)
  const write = writerTo(t, fd, 8)
  let written = 0
  while (write(2 * written) === 0) written++
  assert.ok(written > ringBytes / 16 - 8 && written <= ringBytes / 16, String(written))
  assert.equal(write(8, 1_000), 1, 'it stays full')
  assert.deepEqual(marksOf(ring, 3), [
    [0, 8],
    [2, 8],
    [4, 8],
  ])
  assert.deepEqual([write(10), write(12), write(14), write(16)], [0, 0, 0, 1], 'room for three more')
  const rest = marksOf(ring)
  assert.equal(rest.length, written)
  assert.deepEqual(
    rest.map(([mark]) => mark),
    [...Array.from({ length: written - 3 }, (_, i) => 2 * (i + 3)), 10, 12, 14],
  )
  assert.equal(write(2), 0)
  assert.deepEqual(marksOf(ring), [[2, 8]])
})

test('a reader that fails over a record finds it again, and those behind it', {
  skip,
}, (t) => {
  const { fd, ring } = ringOf(t)
  const write = writerTo(t, fd, 8)
  for (const mark of [2, 4, 6]) write(mark)
  const seen: number[] = []
  assert.throws(
    () =>
      ring.read(10, (data, at) => {
        seen.push(data.getUint32(at, true))
        if (seen.length === 2) throw new RangeError('no')
      }),
    /no/,
  )
  assert.deepEqual(seen, [2, 4])
  assert.deepEqual(marksOf(ring), [
    [4, 8],
    [6, 8],
  ])
})

test('what was told before now is skipped, however much it is, and what comes then is read', { skip }, (t) => {
  const { fd, ring } = ringOf(t)
  const write = writerTo(t, fd, 8)
  write(2, 100_000)
  ring.skip()
  ring.skip()
  assert.deepEqual(marksOf(ring), [])
  write(4)
  assert.deepEqual(marksOf(ring), [[4, 8]])
})

test('who opens a ring goes on where the reader before him has stopped, and may close its descriptor', {
  skip,
}, (t) => {
  const fd = createMap('ring', 0, ringBytes, 0, 0)
  const write = writerTo(t, fd, 8)
  for (const mark of [2, 4, 6]) write(mark)
  const first = new RingBuffer(fd)
  assert.deepEqual(marksOf(first, 1), [[2, 8]])
  first.close()
  const second = new RingBuffer(fd)
  closeSync(fd)
  write(8)
  assert.deepEqual(
    marksOf(second).map(([mark]) => mark),
    [4, 6, 8],
  )
  second.close()
})

test('a ring that is closed leaves no descriptor and no mapping behind', { skip }, (t) => {
  const fd = createMap('ring', 0, ringBytes, 0, 0)
  t.after(() => closeSync(fd))
  const held = (): readonly number[] => [
    readdirSync('/proc/self/fd').length,
    readFileSync('/proc/self/maps', 'utf8').split('bpf-map').length,
  ]
  const before = held()
  const ring = new RingBuffer(fd)
  assert.equal(held()[1], (before[1] ?? 0) + 2, 'the page of the reader, and those of the writer')
  ring.close()
  assert.deepEqual(held(), before)
})
