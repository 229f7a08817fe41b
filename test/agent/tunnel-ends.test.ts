/** In which order the kernel and the others hear of the nodes, and what an uplink has to do with it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { Faults } from '../../src/agent/faults.ts'
import { TunnelEnds } from '../../src/agent/tunnel-ends.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { DesiredTunnels } from '../../src/desired/model.ts'
import { HeraldError } from '../../src/errors.ts'

function world(isServing = true) {
  const clock = new VirtualClock()
  const faults = new Faults(clock, new MemoryLog())
  const log: string[] = []
  const kernel = { isFailing: false }
  const ends = new TunnelEnds(
    {
      clock,
      faults,
      datapath: {
        setNodes: ({ own, others, nodePorts = [] }) => {
          if (kernel.isFailing) throw new HeraldError('ERR_MAP_FULL', 'nodes: map full')
          const served = nodePorts.length === 0 ? '' : `, node ports at ${nodePorts.join()}`
          log.push(`kernel ${own.join()} from ${others.join()}${served}`)
        },
      },
      teller: { want: ({ own, isTold }) => void log.push(`tell ${own.join() || 'none'}${isTold ? ', known' : ''}`) },
      reach: (nodes) => void log.push(`reach ${nodes.map(({ address }) => address).join()}`),
    },
    isServing,
  )
  const taken = (): readonly string[] => log.splice(0)
  return { clock, faults, kernel, ends, taken }
}

const tunnels = (senders: readonly string[], more: Partial<DesiredTunnels> = {}): DesiredTunnels => ({
  own: ['192.0.2.1'],
  isTold: true,
  senders,
  ...more,
})

test('the kernel takes packets before the others hear where, and each is told when it changes', () => {
  const { ends, taken } = world()
  ends.apply(tunnels(['192.0.2.2'], { isTold: false }))
  assert.deepEqual(taken(), ['reach 192.0.2.2', 'kernel 192.0.2.1 from 192.0.2.2', 'tell 192.0.2.1'])
  ends.apply(tunnels(['192.0.2.2']))
  assert.deepEqual(taken(), ['kernel 192.0.2.1 from 192.0.2.2', 'tell 192.0.2.1, known'])
  ends.apply(tunnels(['192.0.2.2', '192.0.2.3']))
  assert.deepEqual(taken(), ['reach 192.0.2.2,192.0.2.3', 'kernel 192.0.2.1 from 192.0.2.2,192.0.2.3'])
})

test('without our programs on an uplink a node takes nothing, and says so', () => {
  const { ends, taken } = world(false)
  ends.apply(tunnels([]))
  assert.deepEqual(taken(), ['kernel 192.0.2.1 from ', 'tell none'])
  ends.setServing(true)
  ends.setServing(true)
  assert.deepEqual(taken(), ['tell 192.0.2.1, known'])
  ends.setServing(false)
  assert.deepEqual(taken(), ['tell none'])
})

test('a few of many nodes are enough to find the uplinks, and the others change nothing', () => {
  const { ends, taken } = world()
  const all = Array.from({ length: 500 }, (_, i) => `192.0.2.${i}`)
  ends.apply(tunnels(all))
  assert.equal(taken()[0]?.split(',').length, 8)
  ends.apply(tunnels([...all, '192.0.2.999']))
  assert.ok(!taken().some((line) => line.startsWith('reach')))
})

test('what the kernel does not take is a fault, tried again with what is wanted then', () => {
  const { ends, taken, kernel, clock, faults } = world()
  kernel.isFailing = true
  ends.apply(tunnels(['192.0.2.2']))
  assert.match(faults.current[0]?.text ?? '', /the kernel does not take the addresses of the nodes: nodes: map full/)
  ends.apply(tunnels(['192.0.2.3']))
  kernel.isFailing = false
  taken()
  clock.advance(5_000)
  assert.deepEqual(taken(), ['kernel 192.0.2.1 from 192.0.2.3'])
  assert.deepEqual(faults.current, [])
  clock.advance(60_000)
  assert.deepEqual(taken(), [])
})

test('who was a node is believed for a minute: a Lease that is deleted and written again ends no flow', () => {
  const { ends, taken, clock } = world()
  ends.apply(tunnels(['192.0.2.2', '192.0.2.3']))
  ends.apply(tunnels(['192.0.2.3']))
  clock.advance(30_000)
  ends.apply(tunnels([]))
  const kernel = (): readonly string[] => taken().filter((line) => line.startsWith('kernel'))
  const own = 'kernel 192.0.2.1 from'
  const both = '192.0.2.2,192.0.2.3'
  assert.deepEqual(kernel(), [`${own} ${both}`, `${own} 192.0.2.3,192.0.2.2`, `${own} ${both}`])
  clock.advance(30_000)
  assert.deepEqual(kernel(), [`${own} 192.0.2.3`])
  ends.apply(tunnels(['192.0.2.3']))
  clock.advance(100_000)
  assert.deepEqual(kernel(), [`${own} 192.0.2.3`], 'it is back, and stays')
  ends.apply(tunnels([], { own: ['192.0.2.3'] }))
  assert.deepEqual(kernel(), ['kernel 192.0.2.3 from '], 'an address of its own is nobody else')
})

test('Leases that change all the time do not fill the map of the nodes', () => {
  const { ends, taken } = world()
  for (let n = 0; n < 2_000; n++) ends.apply(tunnels([`192.0.2.${n}`]))
  assert.ok((taken().at(-1)?.split(',').length ?? 0) <= 513)
})

test('where backends on other nodes are not served, what an earlier process told the kernel ends', () => {
  const { ends, taken } = world()
  ends.applyNone()
  ends.setServing(false)
  assert.deepEqual([taken(), ends.tunnels], [['kernel  from '], undefined])
})

test('where node ports are served is told the kernel with all else that it knows of the nodes, whatever comes first', () => {
  const { ends, taken, kernel, clock } = world()
  ends.serveNodePorts(['192.0.2.1'])
  assert.deepEqual([taken(), ends.nodePorts], [['kernel  from , node ports at 192.0.2.1'], ['192.0.2.1']])
  ends.apply(tunnels(['192.0.2.2']))
  assert.equal(taken()[1], 'kernel 192.0.2.1 from 192.0.2.2, node ports at 192.0.2.1')
  ends.apply(tunnels(['192.0.2.2']), ['192.0.2.9'])
  assert.deepEqual(taken(), ['kernel 192.0.2.1 from 192.0.2.2, node ports at 192.0.2.9'])
  kernel.isFailing = true
  ends.serveNodePorts(['192.0.2.1', '192.0.2.9'])
  kernel.isFailing = false
  clock.advance(5_000)
  assert.deepEqual(taken(), ['kernel 192.0.2.1 from 192.0.2.2, node ports at 192.0.2.1,192.0.2.9'])
  ends.serveNodePorts([])
  assert.deepEqual(taken(), ['kernel 192.0.2.1 from 192.0.2.2'])
})
