import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { createNoneDatapath } from '../../src/datapath/none.ts'
import { openKernelDatapath, openKernelDatapathAside } from '../../src/datapath/kernel.ts'
import type { KernelDatapathOptions } from '../../src/datapath/loading.ts'
import { listLinks, lookAtLinks } from '../../src/sys/links.ts'
import { messageOf } from '../../src/errors.ts'
import { frontendOf, kernelFixture, smallMaps, whyNoKernel } from './fixture.ts'
import { refusedPast } from './refused-past.ts'

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

test('while the kernel loads the loop goes round, and what is adopted is the same', { skip }, async (t) => {
  const fixture = kernelFixture(t)
  const former = fixture.open()
  former.upsert(frontendOf('192.0.2.1', 80, [{ address: '10.1.0.5', port: 8080 }]))
  former.close()
  let rounds = 0
  const count = (): void => {
    rounds++
    next = setImmediate(count)
  }
  let next = setImmediate(count)
  t.after(() => clearImmediate(next))
  // Larger ones of flows too, so that these are handed over.
  const maxEntries = { ...smallMaps, connections: 2 * smallMaps.connections }
  const datapath = await openKernelDatapathAside({
    ...{ bpffs: fixture.bpffs, objectFile: buildBpf(), attach: 'auto', maxEntries },
  })
  try {
    assert.ok(rounds > 0)
    assert.equal(datapath.status.adopted, true)
    assert.deepEqual(
      datapath.readAll().map(({ id }) => id),
      ['192.0.2.1:80/TCP'],
    )
    assert.equal(datapath.usage().find(({ name }) => name === 'connections')?.maxEntries, maxEntries.connections)
  } finally {
    datapath.close()
  }
})

test('why the kernel refuses is said alike, whichever thread it was asked in, and by whom it is asked next', {
  skip,
}, async (t) => {
  const { bpffs } = kernelFixture(t)
  const asked: KernelDatapathOptions = {
    ...{ bpffs, objectFile: refusedPast(t), attach: 'auto', mode: 'redirect', maxEntries: smallMaps },
  }
  const here = messageOf(thrownBy(() => openKernelDatapath(asked))).split('\n')[0] ?? ''
  assert.match(here, /^load .*refused\.bpf\.o: .*: refused_past: /)
  for (const _ of [1, 2])
    await assert.rejects(openKernelDatapathAside(asked), (error) => messageOf(error).startsWith(here))
  const datapath = await openKernelDatapathAside({ ...asked, mode: 'auto' })
  t.after(() => datapath.close())
  assert.equal(datapath.status.mode, 'stack')
  assert.match(datapath.status.modeReason ?? '', /takes no programs past netfilter: load .*: refused_past: /)
  assert.throws(() => datapath.attach(['no-such-if']), { errno: 'ENODEV' })
})

test('an unknown interface is an error, and keeps no other one from its programs', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  const wrong = { code: 'ERR_SYSCALL', errno: 'ENODEV', message: /no-such-if: ENODEV/ }
  assert.throws(() => datapath.attach(['no-such-if', 'lo']), wrong)
  assert.deepEqual(datapath.status.interfaces, ['lo'])
  assert.throws(() => datapath.attach(['no-such-if']), wrong)
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
  assert.equal(lookAtLinks([], /./).uplinks.length, listLinks().length - 1)
  assert.deepEqual(lookAtLinks([], /^no-such-if$/).uplinks, [])
  const reaches = ['127.0.0.1', '::1', 'not an address'].map((address) => ({ address }))
  assert.ok(!lookAtLinks(reaches).links.some(({ name }) => name === 'lo'))
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

function thrownBy(call: () => unknown): unknown {
  try {
    call()
  } catch (error) {
    return error
  }
  return assert.fail('nothing was thrown')
}
