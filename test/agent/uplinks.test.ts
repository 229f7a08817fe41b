import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { Faults } from '../../src/agent/faults.ts'
import { MemoryLinks, type Links } from '../../src/agent/links.ts'
import { Uplinks } from '../../src/agent/uplinks.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { createFakeDatapath } from '../../src/datapath/fake.ts'
import { createNoneDatapath } from '../../src/datapath/none.ts'
import { HeraldError } from '../../src/errors.ts'
import type { Reach } from '../../src/sys/links.ts'

const [eth0, eth1] = [
  { index: 2, name: 'eth0' },
  { index: 3, name: 'eth1' },
]

function bench(
  links: MemoryLinks & Links = new MemoryLinks(),
  neighbors: readonly Reach[] = [{ address: '192.0.2.1' }],
  areAlwaysNeeded = false,
) {
  const clock = new VirtualClock()
  const log = new MemoryLog()
  const faults = new Faults(clock, log)
  const datapath = createFakeDatapath()
  const attached: string[] = []
  const serving: boolean[] = []
  const uplinks = new Uplinks({
    datapath: {
      get status() {
        return datapath.status
      },
      attach: (names) => {
        attached.push(names.join(' '))
        datapath.attach(names)
      },
      follow: () => datapath.follow(),
    },
    links,
    clock,
    faults,
    log,
    areAlwaysNeeded,
    serving: (isServing) => {
      if (serving.at(-1) !== isServing) serving.push(isServing)
    },
  })
  links.set([eth0, eth1], [eth0])
  uplinks.start()
  uplinks.setNeighbors(neighbors)
  return { clock, log, faults, datapath, attached, serving, uplinks, links }
}

test('programs are attached once, and nothing is done while nothing changes', () => {
  const { clock, attached, serving, links } = bench()
  assert.deepEqual([attached, serving], [['eth0'], [true]])
  links.set([eth0, eth1], [eth0])
  clock.advance(50_000)
  assert.deepEqual(attached, ['eth0'])
})

test('a slow poll attaches anew what somebody may have removed', () => {
  const { clock, attached } = bench()
  clock.advance(60_000)
  assert.deepEqual(attached, ['eth0', 'eth0'])
})

test('a new uplink has the programs with the event that tells of it', () => {
  const { clock, attached, links } = bench()
  clock.advance(10)
  links.set([eth0, eth1], [eth0, eth1])
  assert.deepEqual(attached, ['eth0', 'eth0 eth1'])
})

test('a link that is no uplink for a moment keeps its programs, and loses them after a minute and a poll', () => {
  const { clock, datapath, links } = bench()
  links.set([eth0, eth1], [eth1])
  clock.advance(59_000)
  assert.deepEqual(datapath.status.interfaces, ['eth0', 'eth1'])
  clock.advance(61_000)
  assert.deepEqual(datapath.status.interfaces, ['eth1'])
})

test('a link that is made anew under its name has the programs before it is an uplink again', () => {
  const { clock, attached, links, serving } = bench()
  clock.advance(10)
  links.set([eth1], [])
  clock.advance(300)
  links.set([eth1, { ...eth0, index: 9 }], [])
  clock.advance(10)
  assert.deepEqual(attached, ['eth0', '', 'eth0'])
  clock.advance(10_000)
  assert.deepEqual(serving, [true])
})

test('serving ends after a second without uplink, and begins again with the next one', () => {
  const { clock, faults, links, serving } = bench()
  links.set([], [])
  clock.advance(999)
  assert.deepEqual(serving, [true])
  clock.advance(10)
  assert.deepEqual(serving, [true, false])
  assert.match(faults.current[0]?.text ?? '', /no interface routes to a neighbor/)
  links.set([eth0], [eth0])
  clock.advance(10)
  assert.deepEqual([serving, faults.current], [[true, false, true], []])
})

test('what was wrong with the uplinks is over when nothing needs one any more, and is found anew with the next neighbor', () => {
  class Broken extends MemoryLinks {
    isBroken = false
    override look(): ReturnType<MemoryLinks['look']> {
      if (this.isBroken) throw new HeraldError('ERR_SYSCALL', 'list links: ENOBUFS', { errno: 'ENOBUFS' })
      return super.look()
    }
  }
  const links = new Broken()
  const { clock, datapath, faults, uplinks, serving } = bench(links)
  const keys = (): readonly string[] => faults.current.map(({ key }) => key)
  datapath.refused.add('eth1')
  links.set([eth1], [eth1])
  clock.advance(2_000)
  links.isBroken = true
  clock.advance(60_000)
  assert.deepEqual(keys(), ['attach', 'uplink', 'links'])
  uplinks.setNeighbors([])
  assert.deepEqual(keys(), [])
  const looks = links.looks
  clock.advance(300_000)
  assert.deepEqual([keys(), links.looks], [[], looks])
  links.isBroken = false
  datapath.refused.clear()
  links.set([], [])
  uplinks.setNeighbors([{ address: '192.0.2.1' }])
  assert.deepEqual(keys(), [], 'a second is a moment')
  clock.advance(1_000)
  assert.deepEqual([keys(), serving.at(-1)], [['uplink'], false])
  links.set([eth0], [eth0])
  clock.advance(10)
  assert.deepEqual([keys(), serving.at(-1)], [[], true])
})

test('in the place of kube-proxy uplinks are kept without a neighbor, and their lack is told', () => {
  const { attached, faults, serving, links, clock, uplinks } = bench(new MemoryLinks(), [], true)
  assert.deepEqual([attached, serving], [['eth0'], [true]])
  uplinks.setNodes([])
  links.set([], [])
  clock.advance(1_100)
  assert.deepEqual([faults.current.map(({ key }) => key), serving.at(-1)], [['uplink'], false])
  assert.match(faults.current[0]?.text ?? '', /no interface routes to a neighbor or holds the default route/)
  links.set([eth0], [eth0])
  clock.advance(10)
  assert.deepEqual([faults.current, serving.at(-1)], [[], true])
  const idle = bench(new MemoryLinks(), [])
  assert.deepEqual([idle.attached, idle.serving], [[], []])
})

test('a flood of events is a few looks, and the last of them sees the last state', () => {
  const { clock, links, attached } = bench()
  const before = links.looks
  for (let i = 0; i < 1000; i++) links.set([{ ...eth0, index: 10 + i }], [eth0])
  clock.advance(100)
  assert.ok(links.looks - before <= 3, `${links.looks - before} looks`)
  assert.equal(attached.at(-1), 'eth0')
})

test('a failed attach is tried again with back-off, and nothing is announced until every uplink has the programs', () => {
  const { clock, datapath, faults, links, log, attached, serving } = bench()
  datapath.refused.add('eth1')
  clock.advance(10)
  links.set([eth0, eth1], [eth0, eth1])
  clock.advance(20_000)
  assert.deepEqual([datapath.status.interfaces, faults.current.map(({ key }) => key)], [['eth0'], ['attach', 'uplink']])
  assert.match(faults.current.map(({ text }) => text).join(), /do not work on eth1/)
  assert.equal(serving.at(-1), false)
  assert.ok(attached.length < 10, `${attached.length} attempts`)
  assert.equal(log.lines.filter((line) => /EBUSY/.test(line)).length, 1)
  datapath.refused.clear()
  clock.advance(30_000)
  assert.deepEqual([datapath.status.interfaces, faults.current], [['eth0', 'eth1'], []])
  assert.equal(serving.at(-1), true)
})

test('a kernel that lists no interfaces, or tells of no changes, is a fault and takes nothing away', () => {
  class Deaf extends MemoryLinks {
    isBroken = false
    override look(): ReturnType<MemoryLinks['look']> {
      if (this.isBroken) throw new HeraldError('ERR_SYSCALL', 'list links: ENOBUFS', { errno: 'ENOBUFS' })
      return super.look()
    }
    override watch(): () => void {
      throw new HeraldError('ERR_SYSCALL', 'subscribe to netlink events: EPERM', { errno: 'EPERM' })
    }
  }
  const links = new Deaf()
  const { clock, datapath, faults, log, serving } = bench(links)
  assert.ok(log.lines.some((line) => /found only every 60 s/.test(line)))
  links.isBroken = true
  clock.advance(60_000)
  assert.deepEqual(
    faults.current.map(({ key }) => key),
    ['links'],
  )
  assert.deepEqual([datapath.status.interfaces, serving], [['eth0'], [true]])
  links.isBroken = false
  clock.advance(60_000)
  assert.deepEqual(faults.current, [])
})

test('without neighbors and without a datapath nobody looks at interfaces; after a stop nobody does either', () => {
  const links = new MemoryLinks()
  const clock = new VirtualClock()
  const log = new MemoryLog()
  const none = new Uplinks({
    datapath: createNoneDatapath(),
    links,
    clock,
    log,
    faults: new Faults(clock, log),
    serving: () => assert.fail('nothing serves'),
  })
  none.start()
  none.setNeighbors([{ address: '192.0.2.1' }])
  assert.deepEqual([links.looks, clock.pending], [0, 0])

  const stopped = bench()
  stopped.uplinks.stop()
  const looks = stopped.links.looks
  stopped.links.set([], [])
  stopped.clock.advance(600_000)
  assert.deepEqual([stopped.links.looks, stopped.clock.pending], [looks, 0])
})

test('a node without neighbors has the programs where the other nodes are reached, from which packets come', () => {
  const links = new MemoryLinks()
  const { attached, serving, uplinks } = bench(links, [])
  assert.deepEqual([attached, serving], [[], []])
  uplinks.setNodes([{ address: '192.0.2.20' }])
  assert.deepEqual([attached, serving], [['eth0'], [true]])
})

test('the uplinks are asked for by neighbors and other nodes together', () => {
  const links = new MemoryLinks()
  const asked: string[] = []
  const look = links.look.bind(links)
  const spied = Object.assign(links, {
    look: (ends: readonly { readonly address: string }[]) => {
      asked.push(ends.map(({ address }) => address).join(' '))
      return look()
    },
  })
  const { uplinks } = bench(spied)
  uplinks.setNodes([{ address: '192.0.2.20' }])
  assert.equal(asked.at(-1), '192.0.2.1 192.0.2.20')
})
