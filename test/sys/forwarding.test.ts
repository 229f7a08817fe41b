/** Settings of the kernel that keep it from handing packets on. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
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

test('a setting that is there and says neither is not off, nor is a folder in its place; the order is as asked', (t) => {
  const folder = settingsOf(t, { 'ipv4/conf/b': '0', 'ipv4/conf/a': ' 0 \n', 'ipv4/conf/c': '', 'ipv4/conf/d': '00' })
  mkdirSync(join(folder, 'net/ipv4/conf/e/forwarding'), { recursive: true })
  assert.deepEqual(
    forwardingOff('ipv4', ['b', 'e', 'c', 'a', 'd'], folder),
    ['b', 'a'].map((name) => `net.ipv4.conf.${name}.forwarding`),
  )
  assert.deepEqual(forwardingOff('ipv4', [], folder), [])
})

test('the kernel of this machine has a word about the loopback, and none about what is not there', () => {
  for (const family of ['ipv4', 'ipv6'] as const) {
    const said = forwardingOff(family, ['lo'])
    assert.ok(said.every((name) => name === `net.${family}.conf.${family === 'ipv4' ? 'lo' : 'all'}.forwarding`))
  }
  assert.deepEqual(forwardingOff('ipv4', ['nothere0', '../../etc']), [])
})
