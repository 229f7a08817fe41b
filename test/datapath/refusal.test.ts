import assert from 'node:assert/strict'
import { test } from 'node:test'
import { namedRefusal } from '../../src/datapath/refusal.ts'
import { HeraldError, messageOf } from '../../src/errors.ts'

/** As libbpf 1.1 hands it on. */
const verifierWords = (last: string): string =>
  [
    "libbpf: prog 'herald_ingress': BPF program load failed: Invalid argument",
    "libbpf: prog 'herald_ingress': -- BEGIN PROG LOAD LOG --",
    '0: R1=ctx(off=0,imm=0) R10=fp0',
    last,
    'processed 12 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0',
    '-- END PROG LOAD LOG --',
    "libbpf: prog 'herald_ingress': failed to load: -22",
    "libbpf: failed to load object 'herald.bpf.o'",
  ].join('\n')
const refused = (words: string, release: string): string =>
  messageOf(namedRefusal(new HeraldError('ERR_BPF_LOAD', `load herald.bpf.o: EINVAL\n${words}`), release))
const firstLine = (text: string): string => text.split('\n')[0] ?? ''

test('the first line of a refusal names kernel, program and the last word of the verifier', () => {
  const text = refused(verifierWords('combined stack size of 5 calls is 544. Too large'), '6.1.0-56-cloud-amd64')
  assert.equal(
    firstLine(text),
    'load herald.bpf.o: EINVAL (Linux 6.1.0-56-cloud-amd64): ' +
      'herald_ingress: combined stack size of 5 calls is 544. Too large',
  )
  assert.match(text, /\n0: R1=ctx/, 'the verifier is quoted whole behind it')
})

test('a kernel before 5.10 is named as too old, whatever it said', () => {
  for (const release of ['4.19.0-27-amd64', '5.4.0-200-generic', '5.9.16']) {
    const words = verifierWords('invalid func unknown#152')
    assert.match(firstLine(refused(words, release)), /unknown#152; 5\.10 is the least that the programs need$/)
  }
  const noRing = 'libbpf: Error in bpf_create_map_xattr(events):Invalid argument(-22). Retrying without BTF.\nlibbpf: x'
  assert.match(
    firstLine(refused(noRing, '5.4.0')),
    /\(Linux 5\.4\.0\): Error in bpf_create_map_xattr\(events\).*; 5\.10/,
  )
  for (const release of ['5.10.0', '5.15.0-1', '6.1.0', '10.0.1', 'unknown'])
    assert.doesNotMatch(firstLine(refused('', release)), /least/)
})

test('without words the errno is what there is, and another error is not touched', () => {
  assert.equal(firstLine(refused('', '6.1.0')), 'load herald.bpf.o: EINVAL (Linux 6.1.0)')
  const other = new HeraldError('ERR_BPFFS', 'no bpf file system')
  assert.equal(namedRefusal(other, '5.4.0'), other)
})

test('a limit of open files is no fault of the kernel, and is told as what it is', () => {
  const words = 'libbpf: Error in bpf_create_map_xattr(forwards):Too many open files(-24). Retrying without BTF.'
  for (const errno of ['EMFILE', 'ENFILE']) {
    const error = namedRefusal(new HeraldError('ERR_BPF_LOAD', `load herald.bpf.o: ${errno}\n${words}`), '6.1.0')
    assert.ok(error instanceof HeraldError)
    assert.deepEqual([error.code, error.message], ['ERR_FILE_LIMIT', `load herald.bpf.o: ${errno}`])
    assert.match(error.hint, /ulimit -n/)
  }
})
