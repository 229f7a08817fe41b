/** Proof that a lab is gone: what was seen while it ran must not exist afterwards. */
import { existsSync, readdirSync, readlinkSync } from 'node:fs'
import { run } from './namespaces.ts'
import type { Lab } from './runner.ts'

export interface Traces {
  readonly workFolder: string
  /** Network namespaces as the kernel names them. */
  readonly namespaces: ReadonlySet<string>
  /** Kernel ids of pinned programs, `prog 12`, and of pinned maps, `map 34`. */
  readonly bpf: readonly string[]
}

/** Collects what the lab put on this machine. */
export async function tracesOf(lab: Lab): Promise<Traces> {
  const bpf: string[] = []
  for (const name of lab.heraldNodes)
    for (const pin of await pinnedObjects(lab, name)) bpf.push(`${pin.kind} ${pin.id}`)
  return { workFolder: lab.workFolder, namespaces: new Set(lab.names.map((name) => lab.node(name).netns)), bpf }
}

export interface PinnedObject {
  readonly kind: 'prog' | 'map' | 'link'
  readonly id: number
  readonly name: string
  readonly path: string
}

/** What bpftool says about every pin on a node. */
export async function pinnedObjects(lab: Lab, node: string): Promise<PinnedObject[]> {
  const found = await lab.node(node).run(['find', '/sys/fs/bpf', '-type', 'f', '-path', '*herald*'])
  const pins: PinnedObject[] = []
  for (const path of found.stdout.split('\n').filter((line) => line !== '')) {
    for (const kind of ['prog', 'map', 'link'] as const) {
      const shown = await lab.node(node).run(['bpftool', '--json', kind, 'show', 'pinned', path])
      if (shown.code !== 0) continue
      const object: unknown = JSON.parse(shown.stdout)
      const { id, name } = (Array.isArray(object) ? object[0] : object) as { id?: number; name?: string }
      if (id !== undefined) pins.push({ kind, id, name: name ?? '', path })
      break
    }
  }
  return pins
}

/** What is still there of them, one line each. */
export async function leftovers(traces: Traces): Promise<string[]> {
  const left: string[] = []
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const namespace = netnsOf(pid)
    if (namespace !== undefined && traces.namespaces.has(namespace)) left.push(`process ${pid} in ${namespace}`)
  }
  for (const object of traces.bpf) {
    const [kind = '', id = ''] = object.split(' ')
    if ((await run(['bpftool', kind, 'show', 'id', id])).code === 0) left.push(`bpf ${object}`)
  }
  if (existsSync(traces.workFolder)) left.push(traces.workFolder)
  return left
}

function netnsOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`)
  } catch {
    return undefined // the process ended between the listing and the look
  }
}
