/** Events of flows as lines, in the formats of `hubble observe`. */
import type { FlowResponse } from '../api/flow-types.ts'
import { Table } from './table.ts'
import { asciiJson, paint, printable } from './text.ts'

export const flowFormats = ['compact', 'dict', 'json', 'jsonpb', 'table'] as const
export const timeFormats = ['StampMilli', 'RFC3339', 'RFC3339Milli'] as const

export type FlowFormat = (typeof flowFormats)[number]

export interface FlowTextOptions {
  readonly numeric?: boolean
  readonly printNodeName?: boolean
  readonly timeFormat: (typeof timeFormats)[number]
}

type Flow = NonNullable<FlowResponse['flow']>

/** What a line says, part by part. */
interface Parts {
  readonly time: string
  readonly node: string
  readonly source: string
  readonly destination: string
  readonly type: string
  readonly verdict: string
  readonly summary: string
}

export function flowWriter(format: FlowFormat, options: FlowTextOptions): (response: FlowResponse) => string {
  if (format === 'json' || format === 'jsonpb') return (response) => asciiJson(response, 0)
  const partsText = format === 'compact' ? compact(options) : format === 'dict' ? dict(options) : table(options)
  return (response) => {
    const { flow, lost_events: lost } = response
    if (lost !== undefined) return `${paint('yellow', lossText(response, lost, options))}\n`
    return flow === undefined ? '' : partsText(partsOf(flow, options), flow)
  }
}

type Lost = NonNullable<FlowResponse['lost_events']>

function lossText({ time }: FlowResponse, { source, num_events_lost: events }: Lost, options: FlowTextOptions): string {
  const why =
    source === 'OBSERVER_EVENTS_QUEUE'
      ? 'this observer reads too slowly'
      : 'more than the kernel tells in a second, or the reader was slow'
  return `${timeText(time, options)}: LOST ${events} events (${why})`
}

function compact({ printNodeName }: FlowTextOptions): (parts: Parts, flow: Flow) => string {
  return ({ time, node, source, destination, type, verdict, summary }, { is_reply: isReply, Type: kind }) => {
    const where = printNodeName === true ? ` [${node}]` : ''
    const [left, right] = isReply ? [destination, source] : [source, destination]
    const ends = `${left} ${kind === 'SOCK' ? '<>' : isReply ? '<-' : '->'} ${right}`
    return `${printable(`${time}${where}: ${ends} ${type}`)} ${painted(verdict)} ${printable(`(${summary})`)}\n`
  }
}

function dict({ printNodeName }: FlowTextOptions): (parts: Parts) => string {
  let isBegun = false
  return (parts) => {
    const rows = columnsOf(parts, printNodeName).map(
      ([name, value]) => `${name.padStart(11)}: ${name === 'VERDICT' ? painted(value) : printable(value)}\n`,
    )
    const between = isBegun ? '------------\n' : ''
    isBegun = true
    return between + rows.join('')
  }
}

function table({ printNodeName }: FlowTextOptions): (parts: Parts) => string {
  let rows: Table | undefined
  return (parts) => {
    const columns = columnsOf(parts, printNodeName)
    rows ??= new Table(columns.map(([name]) => name))
    return rows.page([columns.map(([, value]) => value)])
  }
}

function columnsOf(parts: Parts, printNodeName: boolean | undefined): readonly (readonly [string, string])[] {
  return [
    ['TIMESTAMP', parts.time],
    ...(printNodeName === true ? [['NODE', parts.node] as const] : []),
    ['SOURCE', parts.source],
    ['DESTINATION', parts.destination],
    ['TYPE', parts.type],
    ['VERDICT', parts.verdict],
    ['SUMMARY', parts.summary],
  ]
}

const painted = (verdict: string): string => paint(verdict === 'DROPPED' ? 'red' : 'green', verdict)

function partsOf(flow: Flow, options: FlowTextOptions): Parts {
  const { verdict, IP: ip, l4, destination_service: service, herald } = flow
  const ports = l4?.TCP ?? l4?.UDP ?? l4?.SCTP
  const isNumeric = options.numeric === true
  const name = service === undefined || isNumeric ? undefined : `${service.namespace}/${service.name}`
  return {
    time: timeText(flow.time, options),
    node: flow.node_name,
    source: herald.process === undefined ? withPort(ip.source, ports?.source_port) : processText(herald.process),
    destination:
      name === undefined
        ? withPort(ip.destination, ports?.destination_port)
        : `${name}:${ports?.destination_port ?? 0} (${ip.destination})`,
    type: typeText(herald),
    verdict,
    summary: [flow.Summary, ...wordsOf(herald), ...backendOf(flow, isNumeric)].join('; '),
  }
}

const processText = ({ id, name }: NonNullable<Flow['herald']['process']>): string => `${name || '-'} (process ${id})`

/** Of a socket as Hubble has it. */
function typeText({ type, detail }: Flow['herald']): string {
  if (type === 'drop') return detail
  return type === 'led' ? 'post-xlate-fwd' : type
}

function wordsOf({ type, detail, fate }: Flow['herald']): readonly string[] {
  if (type === 'drop') return fate === undefined ? [] : [fate]
  return detail === 'by_client' || detail === 'by_connect' ? [] : [detail.replaceAll('_', ' ')]
}

function backendOf({ destination, herald: { backend } }: Flow, isNumeric: boolean): readonly string[] {
  if (backend === undefined) return []
  const { namespace, pod_name: pod } = destination
  const name = pod === undefined || isNumeric ? '' : `${namespace ?? ''}/${pod} `
  return [`backend ${name}${withPort(backend.address, backend.port)}`]
}

function withPort(address: string, port: number | undefined): string {
  if (port === undefined) return address
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'] as const

function timeText(time: string, { timeFormat }: FlowTextOptions): string {
  if (timeFormat === 'RFC3339Milli') return time
  if (timeFormat === 'RFC3339') return time.replace(/\.\d+Z$/, 'Z')
  const at = new Date(time)
  const two = (number: number): string => String(number).padStart(2, '0')
  const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':')
  const day = String(at.getDate()).padStart(2)
  return `${months[at.getMonth()] ?? ''} ${day} ${clock}.${String(at.getMilliseconds()).padStart(3, '0')}`
}
