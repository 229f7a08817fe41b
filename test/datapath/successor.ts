/** A process that takes over what serves on a node, and says in a line of JSON how it found it. */
import { converters as ours } from '../../src/datapath/converters.ts'
import type { ForwardMode } from '../../src/datapath/datapath.ts'
import { openKernelDatapath } from '../../src/datapath/kernel.ts'
import { mapNames, type MapName } from '../../src/datapath/layout.ts'

export interface Succession {
  readonly bpffs: string
  readonly objectFile: string
  readonly attach: 'tcx' | 'clsact'
  readonly mode?: ForwardMode
  readonly maxEntries: Readonly<Partial<Record<MapName, number>>>
  /** As a version of this schema would, which takes over what the one before has. */
  readonly schema?: number
}

export interface Successor {
  readonly frontends: readonly string[]
  readonly interfaces: readonly string[]
  readonly problems: readonly unknown[]
  readonly said: readonly string[]
}

const { schema, ...options }: Succession = JSON.parse(process.argv[2] ?? '{}')
const same = Object.fromEntries(mapNames.map((name) => [name, 'same' as const]))
const said: string[] = []
const datapath = openKernelDatapath({
  ...options,
  ...(schema === undefined ? {} : { version: { schema, converters: [...ours, { from: schema - 1, maps: same }] } }),
  log: (message) => said.push(message),
})
const { interfaces, problems = [] } = datapath.status
const found: Successor = { frontends: datapath.readAll().map(({ id }) => id), interfaces, problems, said }
// As an agent does: what is left of a schema whose removal was broken off goes then.
datapath.attach(interfaces)
console.log(JSON.stringify(found))
datapath.close()
