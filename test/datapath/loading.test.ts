import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { createNoneDatapath } from '../../src/datapath/none.ts'
import { openKernelDatapath } from '../../src/datapath/kernel.ts'
import { listLinks, uplinkInterfaces } from '../../src/sys/links.ts'
import { frontendOf, kernelFixture, whyNoKernel } from './fixture.ts'

const skip = whyNoKernel()

test('what keeps the datapath from loading is said with a code', { skip }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'dp-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const { bpffs } = kernelFixture(t)
  const garbage = join(folder, 'garbage.o')
  writeFileSync(garbage, 'not an object')
  assert.throws(() => openKernelDatapath({ bpffs: folder, objectFile: buildBpf(), attach: 'auto' }), {
    code: 'ERR_BPFFS',
  })
  assert.throws(() => openKernelDatapath({ bpffs, objectFile: join(folder, 'none.o'), attach: 'auto' }), {
    code: 'ERR_BPF_OBJECT_MISSING',
  })
  assert.throws(() => openKernelDatapath({ bpffs, objectFile: garbage, attach: 'auto' }), {
    code: 'ERR_BPF_LOAD',
    message: /libbpf: elf/,
  })
})

test('an unknown interface is an error, and leaves what is attached', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  assert.throws(() => datapath.attach(['lo', 'no-such-if']), { code: 'ERR_SYSCALL', message: /no-such-if: ENODEV/ })
  assert.deepEqual(datapath.status.interfaces, [])
})

test('a closed datapath refuses instead of touching memory that is gone', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf('192.0.2.1', 80, []))
  datapath.close()
  datapath.close()
  assert.throws(() => datapath.readAll(), { code: 'ERR_SYSCALL' })
  assert.throws(() => datapath.reasons(), { code: 'ERR_SYSCALL' })
})

test('a pattern chooses interfaces by name, never the loopback', () => {
  assert.ok(listLinks().some(({ name, index }) => name === 'lo' && index === 1))
  assert.equal(uplinkInterfaces([], /./).length, listLinks().length - 1)
  assert.deepEqual(uplinkInterfaces([], /^no-such-if$/), [])
  const reaches = ['127.0.0.1', '::1', 'not an address'].map((address) => ({ address }))
  assert.ok(!uplinkInterfaces(reaches).some(({ name }) => name === 'lo'))
})

test('the datapath that serves nothing holds nothing and never fails', () => {
  const datapath = createNoneDatapath()
  datapath.upsert(frontendOf('192.0.2.1', 80, []))
  datapath.remove('x')
  datapath.attach(['eth0'])
  assert.deepEqual(
    [datapath.status.kind, datapath.readAll(), datapath.read('192.0.2.1:80/TCP'), datapath.usage()],
    ['none', [], undefined, []],
  )
})
