/** A node that forwards nothing drops what is for pods: it is named in `status`. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { forwardingNotes } from '../../src/agent/forwarding-notes.ts'
import { frontendId } from '../../src/desired/model.ts'
import { forwardingOff } from '../../src/sys/forwarding.ts'

/** A folder like /proc/sys with these settings. */
function settingsOf(t: TestContext, values: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'herald-sys-'))
  t.after(() => rmSync(folder, { recursive: true }))
  for (const [place, value] of Object.entries(values)) {
    mkdirSync(join(folder, 'net', place), { recursive: true })
    writeFileSync(join(folder, 'net', place, 'forwarding'), value)
  }
  return folder
}

const serviceAt = (address: string, backend?: string) => ({
  frontends: [
    {
      id: frontendId(address, 'TCP', 80),
      service: 'shop/web',
      address,
      protocol: 'TCP' as const,
      port: 80,
      backends: backend === undefined ? [] : [{ address: backend, port: 8080 }],
    },
  ],
})
const four = serviceAt('192.0.2.10', '10.1.0.5')
const six = serviceAt('2001:db8::10', 'fd00::5')

test('of IPv4 each uplink is asked, of IPv6 the setting for all; an interface that is gone is off in nothing', (t) => {
  const folder = settingsOf(t, {
    'ipv4/conf/eth0': '1\n',
    'ipv4/conf/eth1.7': '0\n',
    'ipv6/conf/all': '0\n',
    'ipv6/conf/eth0': '1\n',
  })
  const interfaces = ['eth0', 'eth1.7', 'gone']
  assert.deepEqual(forwardingOff('ipv4', interfaces, folder), ['net.ipv4.conf.eth1.7.forwarding'])
  assert.deepEqual(forwardingOff('ipv6', interfaces, folder), ['net.ipv6.conf.all.forwarding'])
  const on = settingsOf(t, { 'ipv6/conf/all': '1\n' })
  assert.deepEqual(forwardingOff('ipv6', interfaces, on), [])
  assert.deepEqual(forwardingOff('ipv6', interfaces, settingsOf(t, {})), [], 'a kernel without IPv6')
})

test('it is said of a family in which Services have pods here, with the setting and what to do', () => {
  const off = (family: string): readonly string[] => [`net.${family}.conf.all.forwarding`]
  assert.deepEqual(forwardingNotes([four], off), [
    'net.ipv4.conf.all.forwarding is 0: the kernel drops IPv4 packets of Services on their way to pods; set it to 1',
  ])
  assert.deepEqual(
    forwardingNotes([four, six], off).map((text) => text.slice(0, 8)),
    ['net.ipv4', 'net.ipv6'],
  )
  assert.deepEqual(forwardingNotes([serviceAt('2001:db8::10'), { frontends: [] }], off), [])
  assert.deepEqual(
    forwardingNotes([four, six], () => []),
    [],
  )
})
