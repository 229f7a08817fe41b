/**
 * What the compiled programs may not contain, although this machine's kernel takes it: verifiers from 5.10 on must load
 * them. Where a kernel of another version can be had the object is loaded there; this finds the known stumbling blocks
 * without one.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { messageOf } from '../../src/errors.ts'
import { backEdges, functionsOf } from './control-flow.ts'
import { stackDepth } from './stack-depth.ts'

function disassembly(name: string, flags: readonly string[] = ['--no-show-raw-insn']): readonly string[] | Error {
  try {
    const object = join(dirname(buildBpf()), name)
    const text = execFileSync('llvm-objdump', ['-d', ...flags, object], { encoding: 'utf8', maxBuffer: 1 << 24 })
    return text.split('\n').map((line) => line.trim())
  } catch (error) {
    return new Error(`needs clang and llvm-objdump: ${messageOf(error).split('\n')[0]}`)
  }
}

const lines = disassembly('herald.bpf.o')
const skip = lines instanceof Error ? lines.message : false

/** Registers that hold a length, by the number of the helper. */
const lengthRegisters: Readonly<Record<number, readonly number[]>> = {
  9: [4], // skb_store_bytes
  26: [4], // skb_load_bytes
  28: [2, 4], // csum_diff
  68: [4], // skb_load_bytes_relative
}

/** Why an instruction is a stumbling block; undefined when it is none. */
function stumblingBlocks(code: readonly string[]): readonly string[] {
  const found: string[] = []
  /** In a run of instructions without a jump into it: what each register holds. */
  let known = new Map<string, 'constant' | 'stack' | 'stack + variable'>()
  for (const line of code) {
    const text = line.replace(/^\d+:\s*/, '')
    if (/^[\da-f]+ <|:$/.test(line)) known = new Map()
    const call = /^call (\d+)/.exec(text)
    if (call !== null) {
      for (const register of lengthRegisters[Number(call[1])] ?? [])
        if (known.get(`r${register}`) !== 'constant') found.push(`${line}: the length in r${register} varies`)
      for (const register of ['r0', 'r1', 'r2', 'r3', 'r4', 'r5']) known.delete(register)
    }
    const store = /^\*\(u(?:8|16|32|64) \*\)\((r\d+) [+-] \d+\) = /.exec(text)
    if (store !== null && known.get(store[1] ?? '') === 'stack + variable')
      found.push(`${line}: written to the stack at an offset that varies`)
    const set = /^[rw](\d+) (=|[-+*/&|^]=|<<=|>>=|s>>=) (\S+)/.exec(text)
    if (set === null) continue
    const [, number = '', operator = '', value = ''] = set
    const register = `r${number}`
    if (operator === '=' && value === 'r10') known.set(register, 'stack')
    else if (operator === '=' && /^-?(0x)?[\da-f]+$/.test(value)) known.set(register, 'constant')
    else if (operator === '=' && /^[rw]\d+$/.test(value) && known.has(value.replace('w', 'r')))
      known.set(register, known.get(value.replace('w', 'r')) ?? 'constant')
    else if (operator === '+=' && /^r\d+$/.test(value) && known.get(register) === 'stack')
      known.set(register, 'stack + variable')
    else if (operator === '=' || known.get(register) === 'constant') known.delete(register)
  }
  return found
}

test('every length that a helper takes is a constant, and no write to the stack has an offset that varies: ' +
  'verifiers before 5.12 refuse the one, before 5.16 lose the bounds of the other', { skip }, () => {
  assert.deepEqual(lines instanceof Error ? [] : stumblingBlocks(lines), [])
})

test('the check for stumbling blocks finds both kinds', () => {
  assert.match(stumblingBlocks(['1:\tr4 = *(u32 *)(r10 - 8)', '2:\tcall 26']).join(), /length in r4 varies/)
  assert.deepEqual(stumblingBlocks(['1:\tw4 = 8', '2:\tcall 26']), [])
  assert.match(
    stumblingBlocks(['1:\tr1 = r10', '2:\tr1 += r6', '3:\t*(u8 *)(r1 - 4) = w2']).join(),
    /offset that varies/,
  )
})

test('no loop is entered behind an instruction that leads back by itself: Linux 6.1 takes none such', { skip }, () => {
  for (const [object, program] of [
    ['herald.bpf.o', 'herald_ingress'],
    ['socket.bpf.o', 'herald_connect4'],
    ['xdp.bpf.o', 'herald_xdp'],
  ] as const) {
    const listing = disassembly(object)
    const functions = functionsOf(listing instanceof Error ? [] : listing)
    assert.ok(functions.has(program), [...functions.keys()].join(' '))
    const found = [...functions].flatMap(([name, code]) => backEdges(code).map((edge) => `${name} ${edge}`))
    assert.deepEqual(found, [], 'put UNROLLED (packet.h) before the loop')
  }
})

test('the check for loops finds one that is entered in its middle, and takes one that is entered where it begins', () => {
  const entered = (at: string): readonly string[] =>
    [
      ...functionsOf([
        '0000 <f>:',
        '0:\tw1 = 0',
        `1:\tgoto ${at} <LBB0_1>`,
        '2:\tw1 += 1',
        '10 <LBB0_1>:',
        '3:\tw2 = w1',
        '4:\tif w2 != 4 goto -3 <LBB0_2>',
        '5:\texit',
      ]),
    ].flatMap(([, code]) => backEdges(code))
  assert.deepEqual(entered('+1'), ['2: w1 += 1'])
  assert.deepEqual(entered('+0'), [])
})

test('no path of calls takes more of the stack than the 512 octets that Linux 6.1 gives', { skip }, () => {
  const programs = {
    'herald.bpf.o': ['ingress', 'egress', 'reply', 'pod', 'snat', 'snat_reply'],
    'xdp.bpf.o': ['xdp'],
    'socket.bpf.o': ['connect4', 'connect6', 'sendmsg4', 'sendmsg6', 'recvmsg4', 'recvmsg6'],
  } as const
  for (const [object, names] of Object.entries(programs)) {
    const listing = disassembly(object, ['-r'])
    for (const name of names) {
      const [octets, path] = stackDepth(listing instanceof Error ? [] : listing, `herald_${name}`)
      assert.ok(octets <= 512, `${octets}: ${path.join(' > ')}`)
    }
  }
})

test('the check for the stack adds the frames on the deepest path, each a multiple of 32 octets', () => {
  const listing = [
    'Disassembly of section .text:',
    '0000 <g>:',
    '0:\tbf a2 00 00 00 00 00 00\tr2 = r10',
    '1:\t07 02 00 00 d8 ff ff ff\tr2 += -40',
    '2:\t95 00 00 00 00 00 00 00\texit',
    'Disassembly of section tc:',
    '0000 <f>:',
    '0:\t7b 1a f8 ff 00 00 00 00\t*(u64 *)(r10 - 8) = r1',
    '1:\t85 10 00 00 ff ff ff ff\tcall -1',
    '0000000000000008:  R_BPF_64_32\t.text',
    '2:\t95 00 00 00 00 00 00 00\texit',
  ]
  assert.deepEqual(stackDepth(listing, 'f'), [32 + 64, ['f', 'g']])
})

test('every program is under GPL-2.0 or BSD, as its helpers need', { skip }, () => {
  const folder = fileURLToPath(new URL('../../src/datapath/bpf', import.meta.url))
  for (const name of readdirSync(folder).filter((each) => /\.[ch]$/.test(each)))
    assert.match(readFileSync(`${folder}/${name}`, 'utf8'), /^\/\/ SPDX-License-Identifier: GPL-2\.0-only OR BSD-2-C/)
  const license = execFileSync('llvm-objdump', ['-s', '-j', 'license', buildBpf()], { encoding: 'utf8' })
  assert.match(license, /Dual BSD\/GPL/)
})
