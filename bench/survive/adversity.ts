/** Events of the table "Nothing lost" that nobody asked for: attacks, and a source of objects that is not itself. */
import { execFileSync } from 'node:child_process'
import { cpSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AttackedFlow } from './attacker.ts'
import { type Event, pause } from './events.ts'
import type { HeldFlow } from './load.ts'
import { isUndisturbed, lossText, lostFlows } from './loss.ts'
import { passingServices } from './manifests.ts'
import { client, everyMs, type Stage } from './stage.ts'

const unchanged = 'no session, route, address, backend changes'
/** Longer than any wait for a file that is half written. */
const longMs = 15_000

export const synFlood: Event = {
  what: '600 000 SYNs from as many sources, flows idle',
  goal: '0 flows lost',
  run: async (stage) => {
    let packets = 0
    const loss = await stage.measured(async () => {
      await stage.load.tell({ do: 'pace', everyMs: 0 })
      packets = await stage.attacker.tell<number>({
        do: 'flood',
        packets: stage.size.flood,
        addresses: stage.addresses,
      })
    })
    await stage.load.tell({ do: 'pace', everyMs })
    return { value: `${packets} SYNs: ${lossText(loss)}`, isMet: lostFlows(loss) === 0 }
  },
}

export const forged: Event = {
  what: 'SYN, RST, FIN and ICMP errors forged for every flow',
  goal: '0 flows lost, moved or leaked',
  run: async (stage) => {
    let packets = 0
    const loss = await stage.measured(async () => {
      const held = await stage.load.tell<HeldFlow[]>({ do: 'flows' })
      packets = await stage.attacker.tell<number>({ do: 'forge', client, flows: held.map(attacked(stage)) })
    })
    return { value: `${packets} packets: ${lossText(loss)}`, isMet: lostFlows(loss) + loss.moved === 0 }
  },
}

function attacked({ endpoints }: Stage): (flow: HeldFlow) => AttackedFlow {
  const addresses = new Map(endpoints.map(({ pod, address }) => [pod, address]))
  return ({ localPort, address, pod }) => ({ localPort, address, podAddress: addresses.get(pod) ?? '' })
}

/** Changes the folder in some way, and changes it back: nothing may come of it. */
function ofFolder(what: string, change: (stage: Stage) => Promise<void>): Event {
  return unasked(what, async (stage) => {
    await change(stage)
    return ''
  })
}

/** Something that asks for no change, whatever it is; what it answers stands in the row. */
export function unasked(what: string, change: (stage: Stage) => Promise<string>): Event {
  return {
    what,
    goal: unchanged,
    run: async (stage) => {
      const before = await servedBy(stage)
      let said = ''
      const loss = await stage.measured(async () => {
        said = await change(stage)
      })
      const isSame = (await servedBy(stage)) === before
      const value = [lossText(loss), said, isSame ? '' : 'Services changed'].filter((text) => text !== '').join(', ')
      return { value, isMet: isUndisturbed(loss) && isSame }
    },
  }
}

/** Addresses and backends of every Service on every node. */
async function servedBy({ rack }: Stage): Promise<string> {
  const views = await Promise.all(rack.nodes.map((node) => rack.services(node)))
  return JSON.stringify(
    views.flat().map(({ service, addresses, frontends }) => [
      service,
      addresses,
      // What they have counted is no part of it.
      frontends.map(({ id, programmed, backends }) => [
        id,
        programmed,
        backends.map(({ address, port, state, node }) => [address, port, state, node]),
      ]),
    ]),
  )
}

/** What agents keep in the folder is theirs. */
const manifestsIn = (stage: Stage): string[] =>
  readdirSync(join(stage.config, 'manifests')).filter((name) => name.endsWith('.yaml'))

export const sourceAway = ofFolder('folder away for 15 s, then 15 s of malformed objects', async (stage) => {
  const [here, away] = [join(stage.config, 'manifests'), join(stage.config, 'away')]
  renameSync(here, away)
  await pause(longMs)
  cpSync(away, here, { recursive: true })
  for (const name of manifestsIn(stage)) writeFileSync(stage.manifest(name), 'kind: Service\nmetadata: {name: [}\n')
  await pause(longMs)
  rmSync(here, { recursive: true })
  renameSync(away, here)
  await pause(everyMs)
})

export const fileAbsent = ofFolder('each file absent for 60 ms, ten times', async (stage) => {
  for (let n = 0; n < 10; n++)
    for (const name of manifestsIn(stage)) {
      const path = stage.manifest(name)
      renameSync(path, `${path}.away`)
      await pause(60)
      renameSync(`${path}.away`, path)
      await pause(140)
    }
})

export const checkedOut = ofFolder('folder moved by git checkout, ten times', async (stage) => {
  const git = (...args: readonly string[]): unknown =>
    execFileSync('git', ['-C', stage.config, '-c', 'user.name=stage', '-c', 'user.email=stage@localhost', ...args], {
      stdio: 'ignore',
      env: { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_SYSTEM: '/dev/null' },
    })
  git('init', '--initial-branch', 'here')
  git('add', ...manifestsIn(stage).map((name) => join('manifests', name)))
  git('commit', '--message', 'manifests where they are')
  git('checkout', '-b', 'there')
  git('mv', 'manifests', 'elsewhere')
  git('commit', '--message', 'manifests elsewhere')
  try {
    for (let n = 0; n < 10; n++) {
      git('checkout', 'here')
      await pause(everyMs / 2)
      git('checkout', 'there')
    }
  } finally {
    git('checkout', 'here')
    rmSync(join(stage.config, '.git'), { recursive: true })
  }
  await pause(everyMs)
})

/** Neither the record beside the manifests nor the state of an agent can be written, and a Service wants an address. */
export const diskFull = ofFolder('disk full for 15 s', async (stage) => {
  const { lab, config } = stage
  const waiting = stage.manifest('waiting.yaml')
  writeFileSync(`${waiting}.off`, passingServices(0, 1, stage.endpoints))
  const fill = (folder: string): readonly string[] => [
    'sh',
    '-c',
    `cat /dev/zero > ${folder}/ballast 2>/dev/null; true`,
  ]
  execFileSync('sh', fill(config).slice(1))
  for (const node of stage.rack.nodes) await lab.node(node).must(fill('/run/herald'))
  try {
    renameSync(`${waiting}.off`, waiting)
    await pause(longMs)
  } finally {
    rmSync(join(config, 'ballast'))
    for (const node of stage.rack.nodes) await lab.node(node).must(['rm', '/run/herald/ballast'])
  }
  rmSync(waiting)
  await pause(everyMs)
})

/** A clone takes the place of the folder, as a sync from a repository does it. */
export const folderReplaced = ofFolder('folder replaced by a copy of it, ten times', async (stage) => {
  const [here, next, before] = ['manifests', 'next', 'before'].map((name) => join(stage.config, name)) as [
    string,
    string,
    string,
  ]
  for (let n = 0; n < 10; n++) {
    cpSync(here, next, { recursive: true })
    renameSync(here, before)
    renameSync(next, here)
    await pause(everyMs / 2)
    rmSync(before, { recursive: true })
  }
})
