import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HeraldError } from '../../src/errors.ts'
import { type Attributes, confinedFrom, confinementIn, mayBeFiltered } from '../../src/sys/confinement.ts'

const statusOf = (capabilities: string, seccomp: number): string =>
  `Name:\tnode\nCapInh:\t0000000000000000\nCapEff:\t${capabilities}\nNoNewPrivs:\t1\nSeccomp:\t${seccomp}\n`

test('a filter of system calls may be why bpf(2) is refused only where there is one, and CAP_BPF', () => {
  // BPF, PERFMON, NET_RAW, NET_ADMIN and NET_BIND_SERVICE; then the same without BPF.
  assert.equal(mayBeFiltered(statusOf('000000c000003400', 2)), true)
  assert.equal(mayBeFiltered(statusOf('0000004000003400', 2)), false)
  assert.equal(mayBeFiltered(statusOf('000000c000003400', 0)), false)
  assert.equal(mayBeFiltered(''), false)
})

const docker: Attributes = { appArmor: 'docker-default (enforce)\n', current: 'docker-default (enforce)\n' }
const fedora: Attributes = { appArmor: undefined, current: 'system_u:system_r:container_t:s0:c1,c2\0' }
const none: readonly Attributes[] = [
  { appArmor: 'unconfined\n', current: 'unconfined\n' },
  { appArmor: 'docker-default (complain)\n', current: 'docker-default (complain)\n' },
  { appArmor: undefined, current: 'system_u:system_r:spc_t:s0\0' },
  { appArmor: undefined, current: 'unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023\0' },
  { appArmor: undefined, current: '' },
  { appArmor: undefined, current: undefined },
]

test('the profile or type that holds a process is named, and none where nothing is kept from it', () => {
  assert.equal(confinementIn(docker), 'the AppArmor profile docker-default')
  assert.equal(confinementIn(fedora), 'the SELinux type container_t')
  for (const each of none) assert.equal(confinementIn(each), undefined, JSON.stringify(each))
})

test('what was refused is told with who may have refused it, and nothing else is', () => {
  const [filtered, free] = [() => true, () => false]
  const mkdir = Object.assign(new Error("EACCES: permission denied, mkdir '/sys/fs/bpf/herald'"), { code: 'EACCES' })
  const bpf = new HeraldError('ERR_SYSCALL', 'bpf(BPF_OBJ_PIN): EPERM', { errno: 'EPERM' })
  const behind = new HeraldError('ERR_BPFFS', '/x cannot be made', { cause: mkdir })
  for (const [thrown, isFiltered, told, code] of [
    [mkdir, filtered, docker, 'ERR_CONFINED'],
    [behind, free, fedora, 'ERR_CONFINED'],
    [bpf, free, docker, 'ERR_CONFINED'],
    // AppArmor has capabilities refused with EPERM as well, but seldom; a filter is the likelier one.
    [bpf, filtered, docker, 'ERR_BPF_REFUSED'],
    [bpf, filtered, { appArmor: undefined, current: undefined }, 'ERR_BPF_REFUSED'],
  ] as const) {
    const error = confinedFrom(thrown, isFiltered, () => told)
    assert.ok(error instanceof HeraldError)
    assert.deepEqual([error.code, error.message.startsWith(thrown.message)], [code, true])
  }
  // What the verifier refuses no profile does.
  const words = 'herald.bpf.o: EACCES\nlibbpf: -- BEGIN PROG LOAD LOG --\nR1 type=ctx expected=fp\nprocessed 7 insns'
  const load = new HeraldError('ERR_BPF_LOAD', words, { errno: 'EACCES' })
  const named = new HeraldError('ERR_BPF_LOAD', words, { cause: load })
  const full = new HeraldError('ERR_SYSCALL', 'bpf(BPF_MAP_CREATE): ENOMEM', { errno: 'ENOMEM' })
  for (const other of [load, named, full, new Error('EACCES'), 'EACCES', undefined])
    assert.equal(
      confinedFrom(other, filtered, () => docker),
      other,
    )
  for (const each of none)
    assert.equal(
      confinedFrom(mkdir, filtered, () => each),
      mkdir,
    )
})
