/**
 * Reads a containerlab topology file: the part of it that network namespaces can honour, and nothing silently
 * ignored. Settings merge as in containerlab: defaults, then the kind's, the group's, the node's; lists are joined,
 * maps merged, scalars replaced.
 */
import { isMap, isScalar, isSeq, LineCounter, parseDocument, type Node as YamlNode, type YAMLMap } from 'yaml'
import { HeraldError } from '../src/errors.ts'

export interface Bind {
  /** As written, relative to the topology file. */
  readonly source: string
  readonly target: string
  readonly isReadOnly: boolean
}

export interface TopologyNode {
  readonly name: string
  readonly image: string
  readonly group: string | undefined
  readonly cmd: readonly string[]
  readonly binds: readonly Bind[]
  /** Command lines split into arguments; as in containerlab no shell is involved. */
  readonly exec: readonly (readonly string[])[]
  readonly env: Readonly<Record<string, string>>
  readonly sysctls: Readonly<Record<string, string>>
  readonly line: number
}

export interface LinkEnd {
  readonly node: string
  readonly interface: string
}

export interface TopologyLink {
  readonly ends: readonly [LinkEnd, LinkEnd]
  readonly mtu: number | undefined
  readonly line: number
}

export interface Topology {
  readonly name: string
  readonly nodes: readonly TopologyNode[]
  readonly links: readonly TopologyLink[]
}

interface Settings {
  image?: string
  kind?: string
  group?: string
  cmd?: string
  binds: string[]
  exec: string[]
  env: Record<string, string>
  sysctls: Record<string, string>
}

const maxInterfaceName = 15
const nodeKeys = ['kind', 'image', 'group', 'cmd', 'binds', 'exec', 'env', 'sysctls', 'network-mode']

/**
 * Parses the text of a topology file. Throws ERR_LAB with one `file:line: what, remedy` per line for all that is wrong.
 */
export function parseTopology(text: string, file: string): Topology {
  const reader = new TopologyReader(text, file)
  const topology = reader.read()
  if (reader.problems.length > 0) throw new HeraldError('ERR_LAB', reader.problems.join('\n'))
  return topology
}

/** Splits a command line at blanks; quotes and backslash keep blanks, nothing is expanded. */
export function splitCommand(line: string): string[] {
  const word = /(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\])+/g
  const part = /"((?:\\.|[^"\\])*)"|'([^']*)'|\\(.)|([^\s"'\\]+)/g
  return (line.match(word) ?? []).map((text) =>
    text.replace(
      part,
      (_, double?: string, single?: string, escaped?: string, plain?: string) =>
        double?.replace(/\\(["\\$`])/g, '$1') ?? single ?? escaped ?? plain ?? '',
    ),
  )
}

class TopologyReader {
  readonly problems: string[] = []
  readonly #file: string
  readonly #lines = new LineCounter()
  readonly #root: unknown

  constructor(text: string, file: string) {
    this.#file = file
    const document = parseDocument(text, { lineCounter: this.#lines, uniqueKeys: true, prettyErrors: false })
    for (const error of document.errors) this.#problem(this.#lines.linePos(error.pos[0]).line, error.message)
    this.#root = document.contents
  }

  read(): Topology {
    const none = { name: '', nodes: [], links: [] }
    const root = this.#map(this.#root, 'the file', ['name', 'topology'])
    const topology =
      root && this.#map(this.#get(root, 'topology'), 'topology', ['defaults', 'kinds', 'groups', 'nodes', 'links'])
    if (root === undefined || topology === undefined) return none
    const name = this.#text(this.#get(root, 'name'), 'name')
    const nodes = this.#nodes(topology)
    return { name: name ?? '', nodes, links: this.#links(topology, nodes) }
  }

  #nodes(topology: YAMLMap): TopologyNode[] {
    const defaults = this.#settings(this.#get(topology, 'defaults'), 'defaults')
    const kinds = this.#named(this.#get(topology, 'kinds'), 'kinds')
    const groups = this.#named(this.#get(topology, 'groups'), 'groups')
    const nodes = this.#map(this.#get(topology, 'nodes'), 'topology.nodes')
    return (nodes?.items ?? []).map((item) => {
      const name = isScalar(item.key) ? String(item.key.value) : ''
      const line = this.#line(item.key)
      const own = this.#settings(item.value, `node ${name}`)
      const groupName = own.group ?? defaults.group
      const group = groupName === undefined ? undefined : groups.get(groupName)
      if (own.group !== undefined && group === undefined)
        this.#problem(line, `node ${name}: group "${own.group}" is not defined`)
      const kindName = own.kind ?? group?.kind ?? defaults.kind
      if (kindName !== 'linux')
        this.#problem(
          line,
          `node ${name}: kind "${kindName ?? ''}" cannot run in a network namespace; only kind linux can`,
        )
      return this.#merged(name, line, [defaults, kinds.get('linux'), group, own])
    })
  }

  #merged(name: string, line: number, levels: readonly (Settings | undefined)[]): TopologyNode {
    const all = levels.filter((level) => level !== undefined)
    const last = <K extends 'image' | 'cmd' | 'group'>(key: K): string | undefined =>
      all.findLast((level) => level[key] !== undefined)?.[key]
    const image = last('image')
    if (image === undefined)
      this.#problem(line, `node ${name}: no image, neither its own nor from its group, kind or the defaults`)
    return {
      name,
      line,
      image: image ?? '',
      group: last('group'),
      cmd: splitCommand(last('cmd') ?? ''),
      binds: all.flatMap((level) => level.binds).map((text) => this.#bind(text, name, line)),
      exec: all.flatMap((level) => level.exec).map(splitCommand),
      env: Object.assign({}, ...all.map((level) => level.env)),
      sysctls: Object.assign({}, ...all.map((level) => level.sysctls)),
    }
  }

  #bind(text: string, name: string, line: number): Bind {
    const [source = '', target = '', mode = 'rw', ...more] = text.split(':')
    if (source === '' || !target.startsWith('/') || !['ro', 'rw'].includes(mode) || more.length > 0) {
      this.#problem(line, `node ${name}: bind "${text}" is not source:/target or source:/target:ro`)
    }
    return { source, target, isReadOnly: mode === 'ro' }
  }

  #named(node: unknown, place: string): Map<string, Settings> {
    const map = node === undefined ? undefined : this.#map(node, `topology.${place}`)
    return new Map(
      (map?.items ?? []).map((item) => [
        isScalar(item.key) ? String(item.key.value) : '',
        this.#settings(item.value, `${place} entry`),
      ]),
    )
  }

  #settings(node: unknown, place: string): Settings {
    const settings: Settings = { binds: [], exec: [], env: {}, sysctls: {} }
    const isEmpty = node === undefined || node === null || (isScalar(node) && node.value === null)
    const map = isEmpty ? undefined : this.#map(node, place, nodeKeys)
    for (const key of ['kind', 'image', 'group', 'cmd'] as const) {
      const text = this.#text(map && this.#get(map, key), `${place}: ${key}`, false)
      if (text !== undefined) settings[key] = text
    }
    const mode = map && this.#get(map, 'network-mode')
    const modeText = this.#text(mode, `${place}: network-mode`, false)
    if (modeText !== undefined && modeText !== 'none')
      this.#problem(
        this.#line(mode),
        `${place}: network-mode "${modeText}" is not possible in network namespaces; write none`,
      )
    for (const key of ['binds', 'exec'] as const)
      settings[key] = this.#texts(map && this.#get(map, key), `${place}: ${key}`)
    for (const key of ['env', 'sysctls'] as const)
      settings[key] = this.#textMap(map && this.#get(map, key), `${place}: ${key}`)
    return settings
  }

  #links(topology: YAMLMap, nodes: readonly TopologyNode[]): TopologyLink[] {
    const node = this.#get(topology, 'links')
    if (node === undefined) return []
    if (!isSeq(node)) {
      this.#problem(this.#line(node), 'topology.links is not a list')
      return []
    }
    const taken = new Set<string>()
    return node.items.flatMap((item) => {
      const map = this.#map(item, 'link', ['endpoints', 'mtu'])
      const texts = this.#texts(map && this.#get(map, 'endpoints'), 'link endpoints')
      const line = this.#line(item)
      const ends = texts.map((text) => this.#end(text, line, nodes, taken))
      const mtu = map && this.#get(map, 'mtu')
      const size = isScalar(mtu) && Number.isInteger(mtu.value) ? Number(mtu.value) : undefined
      if (mtu !== undefined && (size === undefined || size < 68 || size > 65_535))
        this.#problem(this.#line(mtu), 'link: mtu is not a number from 68 to 65535')
      const [a, b, ...more] = ends
      if (a === undefined || b === undefined || more.length > 0) {
        this.#problem(line, 'link: write two endpoints as ["node:interface", "node:interface"]')
        return []
      }
      return [{ ends: [a, b] as const, mtu: size, line }]
    })
  }

  #end(text: string, line: number, nodes: readonly TopologyNode[], taken: Set<string>): LinkEnd {
    const [node = '', name = '', ...more] = text.split(':')
    if (more.length > 0 || name === '' || name.length > maxInterfaceName || /[\s/]/.test(name))
      this.#problem(line, `link: endpoint "${text}" is not node:interface (at most ${maxInterfaceName} characters)`)
    if (!nodes.some((known) => known.name === node)) this.#problem(line, `link: there is no node "${node}"`)
    if (taken.has(text)) this.#problem(line, `link: ${text} is used twice`)
    taken.add(text)
    return { node, interface: name }
  }

  #map(node: unknown, place: string, keys?: readonly string[]): YAMLMap | undefined {
    if (!isMap(node)) {
      this.#problem(this.#line(node), `${place} is not a mapping`)
      return undefined
    }
    for (const { key } of node.items) {
      const name = isScalar(key) ? String(key.value) : '?'
      if (keys !== undefined && !keys.includes(name))
        this.#problem(
          this.#line(key),
          `${place}: "${name}" cannot be honoured in network namespaces; remove it (known: ${keys.join(', ')})`,
        )
    }
    return node
  }

  #get(map: YAMLMap, key: string): unknown {
    const value: unknown = map.get(key, true)
    return value ?? undefined
  }

  #text(node: unknown, place: string, isRequired = true): string | undefined {
    if (isScalar(node) && (typeof node.value === 'string' || typeof node.value === 'number')) return String(node.value)
    if (node !== undefined || isRequired) this.#problem(this.#line(node), `${place} is not text`)
    return undefined
  }

  #texts(node: unknown, place: string): string[] {
    if (node === undefined) return []
    if (isSeq(node)) return node.items.flatMap((item) => this.#text(item, place) ?? [])
    this.#problem(this.#line(node), `${place} is not a list`)
    return []
  }

  #textMap(node: unknown, place: string): Record<string, string> {
    if (node === undefined) return {}
    const map = this.#map(node, place)
    return Object.fromEntries(
      (map?.items ?? []).map((item) => [
        isScalar(item.key) ? String(item.key.value) : '',
        this.#text(item.value, place) ?? '',
      ]),
    )
  }

  #line(node: unknown): number {
    const range = typeof node === 'object' && node !== null ? (node as YamlNode).range : undefined
    return range ? this.#lines.linePos(range[0]).line : 1
  }

  #problem(line: number, message: string): void {
    this.problems.push(`${this.#file}:${line}: ${message}`)
  }
}
