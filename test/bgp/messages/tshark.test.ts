/**
 * What is sent, read by Wireshark's dissector: nothing malformed, no warning, and the fields are those that were meant.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseAddress } from '../../../src/ip/address.ts'
import { formatPrefix, parsePrefix, type Prefix, prefixLength } from '../../../src/ip/prefix.ts'
import { encodeNotification, encodeShutdownText } from '../../../src/bgp/messages/notification.ts'
import { encodeOpen } from '../../../src/bgp/messages/open.ts'
import { encodeEndOfRib, packAnnouncements, packWithdrawals } from '../../../src/bgp/messages/pack.ts'
import { encodeRouteRefresh } from '../../../src/bgp/messages/route-refresh.ts'
import { keepaliveBytes } from '../../../src/bgp/messages/keepalive.ts'
import { ipv4Unicast, ipv6Unicast, type PathAttributes, type UpdateMessage } from '../../../src/bgp/messages/types.ts'
import type { Capability } from '../../../src/bgp/messages/capabilities.ts'
import { encodeUpdate } from '../../../src/bgp/messages/update.ts'
import { ctxOf, updateOf } from './arbitraries.ts'
import { captureFile } from './capture-file.ts'

const isMissing = spawnSync('tshark', ['--version']).status !== 0
const skip = isMissing ? 'tshark is not installed' : false

/** `fields` of every packet that has BGP messages in it; several values of one field in one packet as a list. */
function dissect(segments: readonly Uint8Array[], fields: readonly string[]): string[][][] {
  const folder = mkdtempSync(join(tmpdir(), 'herald-tshark-'))
  try {
    const file = join(folder, 'messages.pcap')
    writeFileSync(file, captureFile(segments))
    const all = ['_ws.malformed', '_ws.expert.severity', '_ws.expert.message', ...fields]
    const args = [
      '-n',
      '-r',
      file,
      '-Y',
      'bgp',
      '-o',
      'bgp.asn_len:4 octet',
      '-T',
      'fields',
      '-E',
      'separator=/t',
      '-E',
      'aggregator=|',
      ...all.flatMap((field) => ['-e', field]),
    ]
    const lines = execFileSync('tshark', args, {
      encoding: 'utf8',
      maxBuffer: 64 << 20,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .split('\n')
      .slice(0, -1)
    const rows = lines.map((line) => line.split('\t').map((cell) => (cell === '' ? [] : cell.split('|'))))
    assert.equal(rows.length, segments.length, 'every segment has BGP in it')
    rows.forEach(([malformed, severities, messages], i) => {
      assert.deepEqual(
        [malformed, severities?.filter((severity) => Number(severity) >= warning)],
        [[], []],
        `segment ${i}: ${messages?.join(', ')}: ${Buffer.from(segments[i] ?? []).toString('hex')}`,
      )
    })
    return rows.map((row) => row.slice(3))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Wireshark's PI_WARN; errors are above it. */
const warning = 0x600000

const prefixes = (...texts: string[]): Prefix[] => texts.map((text) => parsePrefix(text) as Prefix)
const next4 = parseAddress('10.0.0.1') as number
const next6 = parseAddress('2001:db8::1') as string

const everyCapability: readonly Capability[] = [
  { type: 'multiprotocol', family: ipv4Unicast },
  { type: 'multiprotocol', family: ipv6Unicast },
  { type: 'routeRefresh' },
  { type: 'unknown', code: 6, value: new Uint8Array(0) },
  { type: 'extendedNextHop', entries: [{ family: ipv4Unicast, nextHopAfi: 2 }] },
  {
    type: 'gracefulRestart',
    restartState: true,
    notification: true,
    restartTimeSec: 120,
    families: [
      { family: ipv4Unicast, forwarding: true },
      { family: ipv6Unicast, forwarding: false },
    ],
  },
  { type: 'fourOctetAs', asn: 4200000001 },
]

test('an OPEN with every capability reads as it was meant', { skip }, () => {
  const open = encodeOpen({
    type: 'open',
    version: 4,
    myAs: 23456,
    holdTimeSec: 90,
    bgpId: next4,
    capabilities: everyCapability,
  })
  const fields = [
    'bgp.type',
    'bgp.open.version',
    'bgp.open.myas',
    'bgp.open.holdtime',
    'bgp.open.identifier',
    'bgp.cap.type',
    'bgp.cap.4as',
    'bgp.cap.gr.timers.restart_time',
  ]
  assert.deepEqual(dissect([open], fields), [
    [['1'], ['4'], ['23456'], ['90'], ['10.0.0.1'], ['1', '1', '2', '6', '5', '64', '65'], ['4200000001'], ['120']],
  ])
})

const attributes: PathAttributes = {
  origin: 0,
  asPath: [
    { type: 2, asns: [4200000001, 65010] },
    { type: 1, asns: [65020, 65021] },
  ],
  med: 50,
  localPref: 200,
  atomicAggregate: true,
  aggregator: { asn: 4200000001, address: next4 },
  communities: [0xfde80064, 0xffffff01],
  originatorId: next4,
  clusterList: [next4],
  extendedCommunities: ['0002fde800000064'],
  largeCommunities: [[4200000001, 1, 2]],
}

test('UPDATEs of both families, announced and withdrawn, read as they were meant', { skip }, () => {
  const ctx = ctxOf({ isExternal: false, extendedNextHop: true })
  const ipv4 = prefixes('10.100.0.10/32', '10.200.0.0/16')
  const ipv6 = prefixes('2001:db8:100::10/128', '2001:db8:200::/48')
  const segments = [
    packAnnouncements({ ...attributes, nextHop: next4 }, ipv4, ipv4Unicast, ctx).bytes,
    packAnnouncements({ ...attributes, nextHop: next6 }, ipv6, ipv6Unicast, ctx).bytes,
    packAnnouncements({ ...attributes, nextHop: next6 }, ipv4, ipv4Unicast, ctx).bytes,
    packWithdrawals(ipv4, ipv4Unicast, ctx).bytes,
    packWithdrawals(ipv6, ipv6Unicast, ctx).bytes,
    packAnnouncements({ ...attributes, nextHop: next6 }, prefixes('0.0.0.0/0'), ipv4Unicast, ctx).bytes,
    packWithdrawals(prefixes('::/0'), ipv6Unicast, ctx).bytes,
  ]
  const rows = dissect(segments, [
    'bgp.nlri_prefix',
    'bgp.mp_reach_nlri_ipv4_prefix',
    'bgp.mp_reach_nlri_ipv6_prefix',
    'bgp.withdrawn_prefix',
    'bgp.mp_unreach_nlri_ipv6_prefix',
    'bgp.prefix_length',
  ])
  const addresses = (all: readonly Prefix[]): string[] => all.map((prefix) => formatPrefix(prefix).split('/')[0] ?? '')
  const lengths = (all: readonly Prefix[]): string[] => all.map((prefix) => formatPrefix(prefix).split('/')[1] ?? '')
  assert.deepEqual(rows, [
    [addresses(ipv4), [], [], [], [], lengths(ipv4)],
    [[], [], addresses(ipv6), [], [], lengths(ipv6)],
    [[], addresses(ipv4), [], [], [], lengths(ipv4)],
    [[], [], [], addresses(ipv4), [], lengths(ipv4)],
    [[], [], [], [], addresses(ipv6), lengths(ipv6)],
    [[], ['0.0.0.0'], [], [], [], ['0']],
    [[], [], [], [], ['::'], ['0']],
  ])
})

test('every attribute reads as it was meant', { skip }, () => {
  const update = packAnnouncements(
    { ...attributes, nextHop: next4 },
    prefixes('10.100.0.10/32'),
    ipv4Unicast,
    ctxOf({ isExternal: false }),
  ).bytes
  const fields = [
    'bgp.update.path_attribute.type_code',
    'bgp.update.path_attribute.as_path_segment.as4',
    'bgp.update.path_attribute.next_hop',
    'bgp.update.path_attribute.multi_exit_disc',
    'bgp.update.path_attribute.local_pref',
    'bgp.update.path_attribute.aggregator_as',
    'bgp.update.path_attribute.originator_id',
    'bgp.update.path_attribute.community_as',
    'bgp.large_communities.ga',
  ]
  assert.deepEqual(dissect([update], fields), [
    [
      ['1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '16', '32'],
      ['4200000001', '65010', '65020', '65021'],
      ['10.0.0.1'],
      ['50'],
      ['200'],
      ['4200000001'],
      ['10.0.0.1'],
      ['65000'],
      ['4200000001'],
    ],
  ])
})

test('End-of-RIB, ROUTE-REFRESH, KEEPALIVE and NOTIFICATIONs read as they were meant', { skip }, () => {
  const segments = [
    encodeEndOfRib(ipv4Unicast),
    encodeEndOfRib(ipv6Unicast),
    encodeRouteRefresh({ type: 'routeRefresh', family: ipv6Unicast, subtype: 0 }),
    keepaliveBytes,
    encodeNotification({ code: 6, subcode: 2, data: encodeShutdownText('maintenance window 42') }),
    encodeNotification({ code: 6, subcode: 4, data: encodeShutdownText('é'.repeat(200)) }),
    encodeNotification({ code: 1, subcode: 2, data: Uint8Array.of(0, 18) }),
    encodeNotification({ code: 4, subcode: 0, data: new Uint8Array(0) }),
  ]
  const rows = dissect(segments, [
    'bgp.type',
    'bgp.notify.major_error',
    'bgp.notify.communication_length',
    'bgp.notify.communication',
  ])
  assert.deepEqual(rows, [
    [['2'], [], [], []],
    [['2'], [], [], []],
    [['5'], [], [], []],
    [['4'], [], [], []],
    [['3'], ['6'], ['21'], ['maintenance window 42']],
    [['3'], ['6'], ['254'], ['é'.repeat(127)]],
    [['3'], ['1'], [], []],
    [['3'], ['4'], [], []],
  ])
})

test('packed messages follow each other without a gap: as many as were counted, all prefixes in them', { skip }, () => {
  const all = Array.from({ length: 2500 }, (_, i) => (0x0a000000 + i) * 64 + 32)
  const { bytes, count } = packAnnouncements({ origin: 0, asPath: [], nextHop: next4 }, all, ipv4Unicast, ctxOf())
  const [row] = dissect([bytes], ['bgp.type', 'bgp.nlri_prefix'])
  assert.equal(row?.[0]?.length, count)
  assert.equal(row?.[1]?.length, all.length)
})

/**
 * Wireshark takes a prefix of length 0 among others for a sign of ADD-PATH (RFC 7911), and reads into attributes whose
 * value is random here.
 */
function withoutGuesses({
  attributes: { unknown: _, ...known },
  withdrawn,
  nlri,
  mpReach,
  mpUnreach,
}: UpdateMessage): UpdateMessage {
  const specific = (all: readonly Prefix[]): readonly Prefix[] => all.filter((prefix) => prefixLength(prefix) > 0)
  return {
    type: 'update',
    attributes: known,
    withdrawn: specific(withdrawn),
    nlri: specific(nlri),
    ...(mpReach === undefined ? {} : { mpReach: { ...mpReach, prefixes: specific(mpReach.prefixes) } }),
    ...(mpUnreach === undefined ? {} : { mpUnreach: { ...mpUnreach, prefixes: specific(mpUnreach.prefixes) } }),
  }
}

test('any UPDATE that can be sent reads without a warning', { skip }, () => {
  const ctx = ctxOf({ isExternal: false })
  const updates = fc
    .sample(updateOf(ctx), { numRuns: 300, seed: 4760 })
    .map((update) => encodeUpdate(withoutGuesses(update), ctx))
    .filter((bytes) => bytes.length <= 4096)
  assert.ok(updates.length > 250)
  dissect(updates, ['bgp.type'])
})
