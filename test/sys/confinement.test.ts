import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mayBeFiltered } from '../../src/sys/confinement.ts'

const statusOf = (capabilities: string, seccomp: number): string =>
  `Name:\tnode\nCapInh:\t0000000000000000\nCapEff:\t${capabilities}\nNoNewPrivs:\t1\nSeccomp:\t${seccomp}\n`

test('a filter of system calls may be why bpf(2) is refused only where there is one, and CAP_BPF', () => {
  // BPF, PERFMON, NET_RAW, NET_ADMIN and NET_BIND_SERVICE; then the same without BPF.
  assert.equal(mayBeFiltered(statusOf('000000c000003400', 2)), true)
  assert.equal(mayBeFiltered(statusOf('0000004000003400', 2)), false)
  assert.equal(mayBeFiltered(statusOf('000000c000003400', 0)), false)
  assert.equal(mayBeFiltered(''), false)
})
