/**
 * A process that is killed at each step of a hand-over, under load: the next one finishes it, and no connection ends.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { ForwardMode } from '../../src/datapath/datapath.ts'
import { KernelMap } from '../../src/datapath/kernel-maps.ts'
import { schema } from '../../src/datapath/layout.ts'
import { readDrops } from '../../src/datapath/tables/reasons.ts'
import { BpfMap, closeFd, openPinned } from '../../src/sys/bpf.ts'
import { waitFor } from '../wait.ts'
import type { Load } from './actor.ts'
import { frontendOf, smallMaps, whyNoKernel } from './fixture.ts'
import { deployRack, pods, uplink, vip, type Rack } from './rack.ts'
import type { Succession, Successor } from './successor.ts'

const skip = whyNoKernel()
const frontend = frontendOf(
  vip,
  80,
  pods.map((address) => ({ address, port: 8080 })),
)
const maxEntries = { ...smallMaps, connections: 16_384, tables: 4_096 }
const place = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

interface Ended {
  readonly signal: NodeJS.Signals | null
  readonly code: number | null
  readonly output: string
}

/** A successor on the node, which may end before one of its steps. */
async function succeed(rack: Rack, succession: Succession, env: Readonly<Record<string, string>>): Promise<Ended> {
  const given = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  const program = [process.execPath, '--import', place('mortal.ts'), place('successor.ts'), JSON.stringify(succession)]
  const child = rack.start('node', ['env', ...given, ...program])
  let output = ''
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()))
  return new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal, output })))
}

/**
 * Each kind of step once, where it comes first, and the last of all. Of the programs that are replaced every one:
 * between two of them packets meet both those of before and new ones.
 */
function momentsOf(steps: readonly string[], kinds: RegExp): readonly string[] {
  return [...steps.filter((step) => kinds.test(step) && / 1$|_(link_update|tc_attach) /.test(step)), ...steps.slice(-1)]
}

/** What is pinned, and what was dropped: why nothing may go on. */
function foundOn(bpffs: string): string {
  const pinned = readdirSync(join(bpffs, 'herald'), { recursive: true, encoding: 'utf8' })
  const drops = pinned.flatMap((path) => {
    const fd = basename(path) === 'drops' ? openPinned(join(bpffs, 'herald', path)) : undefined
    if (fd === undefined) return []
    const counts = readDrops(new KernelMap('drops', new BpfMap(path, fd))).filter(({ packets }) => packets > 0)
    closeFd(fd)
    return counts.map(({ reason, packets }) => `${packets} ${reason}`)
  })
  return `dropped: ${drops.join(', ')}; pinned: ${pinned.filter((path) => !path.includes('/maps/')).join(' ')}`
}

/** `nth`: how the n-th successor differs from the one before; `kinds`: of steps. */
async function killedAtEachStep(
  t: TestContext,
  kinds: RegExp,
  nth: (n: number) => Partial<Succession>,
  mode: ForwardMode = 'stack',
): Promise<void> {
  const rack = deployRack(t)
  const folder = mkdtempSync(join(tmpdir(), 'dp-'))
  t.after(() => rmSync(folder, { recursive: true }))
  await rack.actor('pod').tell({ do: 'serve', port: 8080 })
  const base = { bpffs: rack.bpffs, objectFile: buildBpf(), attach: 'tcx', maxEntries, mode } as const
  const opening = { do: 'datapath', ...base, interfaces: [uplink], frontends: [frontend] } as const
  const former = rack.actor('node')
  await former.tell(opening)
  await former.kill('SIGKILL')
  const user = rack.actor('client')
  const soFar = (): Promise<Load> => user.tell<Load>({ do: 'load-so-far' })
  const goesOn = async (when: string): Promise<void> => {
    const { exchanges, opened } = await soFar()
    try {
      await waitFor('traffic', async () => {
        const now = await soFar()
        return now.failures.length > 0 || (now.exchanges > exchanges + 40 && now.opened > opened + 5)
      })
    } catch (error) {
      const now = await soFar()
      const since = `${now.exchanges - exchanges} exchanges, ${now.opened - opened} opened`
      throw new Error(`${when}: ${since}; ${foundOn(rack.bpffs)}`, { cause: error })
    }
    assert.deepEqual((await soFar()).failures, [], when)
  }
  await user.tell({ do: 'load', address: vip, port: 80, connections: 10 })
  await goesOn('before all')
  const file = join(folder, 'steps')
  const whole = async (n: number, env: Readonly<Record<string, string>> = {}): Promise<void> => {
    const { code, output } = await succeed(rack, { ...base, ...nth(n) }, env)
    assert.equal(code, 0, output)
    const { frontends, interfaces, problems }: Successor = JSON.parse(output)
    assert.deepEqual([frontends, interfaces, problems], [[frontend.id], [uplink], []], output)
    const [version = '', ...others] = readdirSync(join(rack.bpffs, 'herald'))
    assert.deepEqual(others, [])
    const ofMode = mode === 'redirect' ? ['pods'] : []
    assert.deepEqual(readdirSync(join(rack.bpffs, 'herald', version)).sort(), ['links', 'maps', ...ofMode, 'programs'])
    assert.ok(!existsSync(join(rack.bpffs, 'herald', version, 'maps', 'formers')))
    for (const folder of ofMode) assert.equal(readdirSync(join(rack.bpffs, 'herald', version, folder)).length, 1)
  }
  await whole(0, { HERALD_STEPS: file })
  const steps = readFileSync(file, 'utf8').trim().split('\n')
  for (const [n, moment] of momentsOf(steps, kinds).entries()) {
    const dying = await succeed(rack, { ...base, ...nth(n + 1) }, { HERALD_DIE_BEFORE: moment })
    assert.equal(dying.signal, 'SIGKILL', `${moment}: ${dying.output}`)
    await goesOn(`killed before ${moment}`)
    await whole(n + 1)
    await goesOn(`finished after ${moment}`)
  }
  const { failures } = await user.tell<Load>({ do: 'load-end' })
  assert.deepEqual(failures, [])
  const unloader = rack.actor('node')
  await unloader.tell({ do: 'unload', bpffs: rack.bpffs })
  assert.deepEqual(await unloader.tell({ do: 'unload', bpffs: rack.bpffs }), [])
}

test(
  'maps that are made larger: killed before each kind of step, the next one finishes it and no connection ends',
  {
    skip,
  },
  (t) =>
    killedAtEachStep(t, /^(?!mkdirSync (maps|programs|links))/, (n) => ({
      maxEntries: { ...maxEntries, openings: maxEntries.openings + 64 * (n + 1) },
    })),
)

/** Those that the other test has not. */
const ofSchema = /^(bpf_map_update_batch|renameSync links|bpf_link_update|unlinkSync|rmdirSync version)/

test(
  'another schema: killed before steps of each kind, the next one finishes it and no connection ends',
  {
    skip,
  },
  (t) => killedAtEachStep(t, ofSchema, (n) => ({ schema: schema + n + 1 })),
)

/** Those by which programs of pods come into their places, and what is there of them is carried over. */
const ofPods = /^(renameSync (links|pods)|bpf_link_update|unlinkSync|rmdirSync (pods|arriving))/

test(
  'past netfilter, another schema: killed before steps of each kind, the next one finishes it, the programs of pods go ' +
    'with it, and no connection ends',
  {
    skip,
  },
  (t) => killedAtEachStep(t, ofPods, (n) => ({ schema: schema + n + 1 }), 'redirect'),
)
