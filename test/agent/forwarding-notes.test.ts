/** A node that forwards nothing drops what is for pods: it is named in `status`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { forwardingNotes } from '../../src/agent/forwarding-notes.ts'
import { frontendId } from '../../src/desired/model.ts'

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
