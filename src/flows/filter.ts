/**
 * Which events an observer wants: within one key any value will do, of several keys each must fit, and what one denied
 * value fits is left out. Pure.
 */
import type { FlowFilter, FlowFilterKey, FlowQuery } from '../api/flow-types.ts'
import { eventTypes, type Endpoint } from '../datapath/events.ts'
import { reasonNames } from '../datapath/reasons.ts'
import { HeraldError } from '../errors.ts'
import { parseAddress, unmapped } from '../ip/address.ts'
import { hostPrefix, parsePrefix, prefixContains } from '../ip/prefix.ts'
import { isIpv6, isReply, type NamedEvent, protocolNumbers, tcpFlagsOf, verdictOf } from './named-event.ts'

export type EventTest = (event: NamedEvent) => boolean

/** Throws ERR_USAGE, naming key and value. */
export function compileFilter({ allow, deny }: Pick<FlowQuery, 'allow' | 'deny'>): EventTest {
  const wanted = testsOf(allow).map(({ tests }) => tests)
  const unwanted = testsOf(deny).flatMap(({ tests }) => tests)
  return (event) => wanted.every((tests) => tests.some((test) => test(event))) && !unwanted.some((test) => test(event))
}

function testsOf(filter: FlowFilter): { readonly tests: readonly EventTest[] }[] {
  return Object.entries(filter).map(([key, values]) => ({
    tests: values.map((value) => testOf(key as FlowFilterKey, value)),
  }))
}

function testOf(key: FlowFilterKey, value: string): EventTest {
  const test = makers[key](value)
  if (typeof test === 'function') return test
  throw new HeraldError('ERR_USAGE', `--${key} ${value}: ${test}`)
}

type Side = 'from' | 'to' | 'either'

/** Who sends what an event is about: the client of a flow, or a pod whose reply is dropped. */
const sourcesOf = (event: NamedEvent): readonly Endpoint[] => [event.source]
const destinationsOf = (event: NamedEvent): readonly Endpoint[] =>
  event.backend === undefined ? [event.destination] : [event.destination, event.backend]
const endpointsOf: Readonly<Record<Side, (event: NamedEvent) => readonly Endpoint[]>> = {
  from: sourcesOf,
  to: destinationsOf,
  either: (event) => [...sourcesOf(event), ...destinationsOf(event)],
}

function oneOf(words: readonly string[], read: (event: NamedEvent) => string): (value: string) => EventTest | string {
  return (value) => {
    const word = words.find((each) => each.toLowerCase() === value.toLowerCase())
    return word === undefined ? `one of ${words.join(', ')} is wanted` : (event) => read(event) === word
  }
}

function addressTest(side: Side): (value: string) => EventTest | string {
  return (value) => {
    const address = parseAddress(value)
    const prefix = address === undefined ? parsePrefix(value) : hostPrefix(unmapped(address))
    if (prefix === undefined) return 'an address, or a prefix as 192.0.2.0/24, is wanted'
    return (event) =>
      endpointsOf[side](event).some((endpoint) => {
        const parsed = parseAddress(endpoint.address)
        return parsed !== undefined && prefixContains(prefix, parsed)
      })
  }
}

function portTest(side: Side): (value: string) => EventTest | string {
  return (value) => {
    const port = /^\d{1,5}$/.test(value) ? Number(value) : 0
    if (port < 1 || port > 65_535) return 'a port from 1 to 65535 is wanted'
    return (event) => endpointsOf[side](event).some((endpoint) => endpoint.port === port)
  }
}

/** `name` is one of the namespace default, `ns/` any of a namespace; a name is its beginning, as Hubble has it. */
function nameTest(read: (event: NamedEvent) => string | undefined): (value: string) => EventTest | string {
  return (value) => {
    if (!/^(?:[a-z0-9][a-z0-9.-]*\/)?[a-z0-9.-]*$/.test(value) || value === '') return 'NAMESPACE/NAME is wanted'
    const beginning = value.includes('/') ? value : `default/${value}`
    return (event) => read(event)?.startsWith(beginning) === true
  }
}

function typeTest(value: string): EventTest | string {
  if (value === 'trace') return ({ type, socket }) => type !== 'drop' && socket === undefined
  if (value === 'trace-sock') return ({ socket }) => socket !== undefined
  return oneOf([...eventTypes], ({ type }) => type)(value)
}

function protocolTest(value: string): EventTest | string {
  const name = value.toLowerCase()
  const numbers = new Map<string, readonly number[]>([
    ...Object.entries(protocolNumbers).map(([each, number]): [string, number[]] => [each, [number]]),
    ['icmp', [protocolNumbers.icmp, protocolNumbers.icmpv6]],
    ['icmpv4', [protocolNumbers.icmp]],
  ])
  const wanted = numbers.get(name)
  if (wanted === undefined) return `one of ${[...numbers.keys()].join(', ')} is wanted: what is above is not looked at`
  return ({ protocol }) => wanted.includes(protocol)
}

/** All of a list at once, as Hubble has it: `SYN,ACK`. */
function flagsTest(value: string): EventTest | string {
  const names = value.toUpperCase().split(',')
  const known = new Set(tcpFlagsOf(0xff))
  const unknown = names.find((name) => !known.has(name))
  if (unknown !== undefined) return `flags are ${[...known].join(', ')}`
  return ({ tcpFlags }) => {
    const set = new Set(tcpFlagsOf(tcpFlags))
    return names.every((name) => set.has(name))
  }
}

function namespaceTest(value: string): EventTest | string {
  if (!/^[a-z0-9][a-z0-9-]*$/.test(value)) return 'a namespace is wanted'
  return ({ service, pod }) => [service, pod].some((name) => name?.startsWith(`${value}/`) === true)
}

const podOn =
  (side: Side) =>
  (event: NamedEvent): string | undefined =>
    side === 'either' || (side === 'from') === isReply(event) ? event.pod : undefined

const makers: Readonly<Record<FlowFilterKey, (value: string) => EventTest | string>> = {
  type: typeTest,
  verdict: oneOf(['FORWARDED', 'DROPPED', 'TRANSLATED'], verdictOf),
  'drop-reason-desc': oneOf(reasonNames, ({ type, detail }) => (type === 'drop' ? detail : '')),
  protocol: protocolTest,
  'tcp-flags': flagsTest,
  ip: addressTest('either'),
  'from-ip': addressTest('from'),
  'to-ip': addressTest('to'),
  port: portTest('either'),
  'from-port': portTest('from'),
  'to-port': portTest('to'),
  service: nameTest(({ service }) => service),
  pod: nameTest(podOn('either')),
  'from-pod': nameTest(podOn('from')),
  'to-pod': nameTest(podOn('to')),
  namespace: namespaceTest,
  'ip-version': oneOf(['4', '6'], ({ source }) => (isIpv6(source) ? '6' : '4')),
}
