/** Whether a node may take ports of its own addresses for SNAT. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { snatAbility } from '../../src/agent/snat-ability.ts'
import { TunnelEnds } from '../../src/agent/tunnel-ends.ts'
import { Faults } from '../../src/agent/faults.ts'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { ClusterNodes } from '../../src/datapath/datapath.ts'
import { readLocalPorts } from '../../src/sys/local-ports.ts'

/** What a node says whose kernel has these settings; undefined: it has none. */
function saying(range: string | undefined, reserved = ''): string {
  const folder = mkdtempSync(join(tmpdir(), 'ports-'))
  try {
    mkdirSync(join(folder, 'net/ipv4'), { recursive: true })
    if (range !== undefined) writeFileSync(join(folder, 'net/ipv4/ip_local_port_range'), `${range}\n`)
    writeFileSync(join(folder, 'net/ipv4/ip_local_reserved_ports'), `${reserved}\n`)
    const { whyNoSnat, ports } = snatAbility({ kind: 'ebpf' }, () => readLocalPorts(folder))
    assert.deepEqual(ports, whyNoSnat === '' ? { snatPorts: { first: 61_000, last: 65_095 } } : {})
    return whyNoSnat
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('a node whose sockets get none of the ports may take them, as Linux has it by default', () => {
  for (const [range, reserved] of [
    ['32768\t60999', ''],
    ['65096\t65535', ''],
    ['1024\t65535', '61000-65095'],
    ['1024\t65535', '8080,61000-62000,62001-65535'],
    ['1024\t65535', '62001-65095,60000-62000'],
    ['64000\t65535', '64000-65100'],
  ] as const)
    assert.equal(saying(range, reserved), '', `${range} ${reserved}`)
})

test('a node whose sockets get one of them may not, and says which settings are in the way', () => {
  for (const [range, reserved] of [
    ['1024\t65535', ''],
    ['32768\t61000', ''],
    ['1024\t65535', '61001-65095'],
    ['1024\t65535', '61000-65094'],
    ['1024\t65535', '61000-62000,62002-65095'],
    ['65095\t65535', '65096-65535'],
  ] as const)
    assert.match(saying(range, reserved), /ip_local_port_range is \d+ to \d+, and .* ip_local_reserved_ports/, range)
  assert.match(saying(undefined), /cannot be read/)
})

test('without a datapath, or with a kernel that cannot do it, there are no ports and the reason is its own', () => {
  const read = () => ({ range: { first: 32_768, last: 60_999 }, reserved: [] })
  assert.deepEqual(snatAbility({ kind: 'none' }, read), { whyNoSnat: 'there is no datapath', ports: {} })
  assert.deepEqual(snatAbility({ kind: 'ebpf', whyNoSnat: 'too old' }, read), { whyNoSnat: 'too old', ports: {} })
})

test('the kernel hears of the ports with the addresses that they are of, and never without', () => {
  const told: ClusterNodes[] = []
  const clock = new VirtualClock()
  const ends = new TunnelEnds(
    {
      datapath: { setNodes: (nodes) => void told.push(nodes) },
      clock,
      faults: new Faults(clock, new MemoryLog()),
      teller: undefined,
      reach: () => {},
      snatPorts: { first: 61_000, last: 65_095 },
    },
    true,
  )
  ends.apply({ own: ['192.168.1.10'], isTold: true, senders: [] })
  assert.deepEqual(told.at(-1)?.snatPorts, { first: 61_000, last: 65_095 })
  assert.deepEqual(told.at(-1)?.own, ['192.168.1.10'])
})
