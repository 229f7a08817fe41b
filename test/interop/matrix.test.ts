/**
 * Herald's speaker with five real routers, every scenario with each of them; the matrix is printed at the end.
 *
 *     scenario --Peering--> router's configuration  |  the daemon in its namespace
 *              `----------> Neighbor                |  our speaker in its own       --tcpdump--> tshark
 *
 * The routers are worked through side by side, most of the time is spent in waiting. A scenario starts both sides anew.
 */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { messageOf } from '../../src/errors.ts'
import { Capture } from './capture.ts'
import { Link, missing } from './link.ts'
import { Matrix } from './matrix.ts'
import { Rig } from './rig.ts'
import { type RouterDaemon, type RouterName, routerNames } from './router-daemon.ts'
import { Bird } from './routers/bird.ts'
import { ExaBgp } from './routers/exabgp.ts'
import { Frr } from './routers/frr.ts'
import { GoBgp } from './routers/gobgp.ts'
import { OpenBgpd } from './routers/openbgpd.ts'
import type { Scenario } from './scenario.ts'
import { bfd } from './scenarios/bfd.ts'
import { endings } from './scenarios/endings.ts'
import { failover } from './scenarios/failover.ts'
import { linkLocals } from './scenarios/link-local.ts'
import { options } from './scenarios/options.ts'
import { refresh } from './scenarios/refresh.ts'
import { restart } from './scenarios/restart.ts'
import { storms } from './scenarios/storms.ts'
import { sessions } from './scenarios/sessions.ts'

const scenarios: readonly Scenario[] = [
  ...sessions,
  ...refresh,
  ...options,
  ...linkLocals,
  ...endings,
  ...failover,
  ...bfd,
  ...restart,
  ...storms,
]
const matrix = new Matrix(scenarios)

const routers = {
  FRR: { programs: ['zebra', 'vtysh'], create: (link: Link) => new Frr(link) },
  BIRD: { programs: ['bird', 'birdc'], create: (link: Link) => new Bird(link) },
  GoBGP: { programs: ['gobgpd', 'gobgp'], create: (link: Link) => new GoBgp(link) },
  OpenBGPD: { programs: ['bgpctl'], create: (link: Link) => new OpenBgpd(link) },
  ExaBGP: { programs: ['exabgp'], create: (link: Link) => new ExaBgp(link) },
} satisfies Record<RouterName, { readonly programs: readonly string[]; readonly create: (link: Link) => RouterDaemon }>

async function play(scenario: Scenario, link: Link, router: RouterDaemon, capture: Capture): Promise<void> {
  const rig = new Rig(link, router, capture)
  try {
    await rig.begin(scenario.setup(router))
    if (scenario.isStartingDown !== true) await rig.established()
    await scenario.run(rig)
    assert.equal(rig.speaker.stderr, '')
  } catch (error) {
    throw new Error(`${messageOf(error)}\n${await rig.account()}`, { cause: error })
  } finally {
    await rig.end()
  }
}

async function meet(t: TestContext, name: RouterName): Promise<void> {
  const link = new Link(name)
  t.after(() => link.close())
  await link.up()
  const router = routers[name].create(link)
  const capture = new Capture(link)
  for (const scenario of scenarios) {
    if (scenario.lacking?.[name] !== undefined) {
      matrix.set(scenario, name, 'no')
      continue
    }
    await t.test(`${name}: ${scenario.title}`, async () => {
      matrix.set(scenario, name, 'FAIL')
      await play(scenario, link, router, capture)
      matrix.set(scenario, name, 'yes')
    })
  }
  await t.test(`${name}: a capture of all of it has no malformed frame`, async () => {
    await capture.stop()
    assert.ok((await capture.allFrames('bgp.type == 2')).length > 5)
    // tshark knows no extended messages (RFC 8654) and calls their length malformed.
    assert.deepEqual(
      await capture.allFrames(
        '(_ws.malformed || (bgp && _ws.expert.severity == error)) && !(bgp.length > 4096)',
        '_ws.col.Info',
      ),
      [],
    )
  })
}

test('Herald and five routers', { concurrency: true }, async (t) => {
  t.after(() => process.stdout.write(`\n${matrix.text()}\n`))
  await Promise.all(
    routerNames.map((name) =>
      t.test(
        name,
        { skip: missing(...routers[name].programs, 'ip', 'ss', 'tcpdump', 'tshark', 'mergecap'), concurrency: 1 },
        (t) => meet(t, name),
      ),
    ),
  )
})
