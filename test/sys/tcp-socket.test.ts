import assert from 'node:assert/strict'
import type net from 'node:net'
import { test } from 'node:test'
import { openListener } from '../../src/speaker/session/listener.ts'
import { parseAddress } from '../../src/ip/address.ts'
import { createDialSocket } from '../../src/sys/tcp-socket.ts'

const loopback = (text: string) => parseAddress(text) ?? assert.fail(text)

test('a SYN that nobody answers ends the dial after TCP_USER_TIMEOUT (RFC 5482)', async () => {
  // A listener that wants a key drops what is not signed with it, without a word.
  const listener = await openListener({ host: '127.0.0.1', port: 0, onRefused: () => {} })
  listener.setPeers([
    { address: loopback('127.0.0.77'), password: 'a key', accept: (transport) => transport.destroy() },
  ])
  const dial = (userTimeoutMs: number | undefined): net.Socket =>
    createDialSocket({
      peer: loopback('127.0.0.1'),
      ttl: 1,
      source: loopback('127.0.0.77'),
      ...(userTimeoutMs === undefined ? {} : { userTimeoutMs }),
    }).connect(listener.port, '127.0.0.1')
  const patient = dial(undefined)
  let isPatientOver = false
  for (const event of ['error', 'close']) patient.on(event, () => (isPatientOver = true))
  const code = await new Promise((resolve) =>
    dial(1_500).once('error', (error: NodeJS.ErrnoException) => resolve(error.code)),
  )
  assert.equal(code, 'ETIMEDOUT')
  assert.equal(isPatientOver, false)
  patient.destroy()
  await listener.close()
})

test('a device that is not there is named with the call', () => {
  assert.throws(
    () => createDialSocket({ peer: loopback('127.0.0.1'), ttl: 1, device: 'nothere0' }),
    /bind to interface nothere0: (ENODEV|EPERM)/,
  )
})
