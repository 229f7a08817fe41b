/** Source ranges and session affinity of a Service, from the manifest to what the kernel is to hold. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Frontend } from '../../src/desired/model.ts'
import { parseService } from '../../src/k8s/kinds/service.ts'
import type { SourceRanges } from '../../src/k8s/kinds/source-ranges.ts'
import { change, deliver, node, pool, service, serviceOf, slice, smallestPolicy, translatorWith } from './manifests.ts'

const base = smallestPolicy + node + pool
const annotation = 'service.beta.kubernetes.io/load-balancer-source-ranges'
const policy = 'service.cilium.io/src-ranges-policy'
const raw = (spec: object, annotations: Readonly<Record<string, string>> = {}): ReturnType<typeof parseService> =>
  parseService({ metadata: { name: 'web', annotations }, spec: { type: 'LoadBalancer', ...spec } })
const dual = { ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'RequireDualStack' }
/** `+10.0.0.0/8` is let in, `-10.0.0.0/8` kept out; `*` is everybody. */
const shortly = (ranges: SourceRanges | undefined): string =>
  (['ipv4', 'ipv6'] as const)
    .map(
      (family) =>
        ranges?.[family]?.map(({ prefix, isAllowed }) => `${isAllowed ? '+' : '-'}${prefix}`).join(' ') ?? '*',
    )
    .join(' | ')
const found = ({ faults }: ReturnType<typeof parseService>): readonly string[] =>
  faults.map(({ severity, code }) => `${severity} ${code}`)

const lists: readonly (readonly [what: string, list: readonly string[], ranges: string, faults: readonly string[]])[] =
  [
    ['none', [], '* | *', []],
    ['both families', ['10.0.0.0/8', '2001:db8::/32'], '+10.0.0.0/8 | +2001:db8::/32', []],
    ['blanks and one twice', [' 10.0.0.0/8', '10.0.0.0/8\t', 'fd00::/8', '::/0'], '+10.0.0.0/8 | *', []],
    ['everybody of IPv4', ['0.0.0.0/0', '10.0.0.0/8', 'fd00::/8'], '* | +fd00::/8', []],
    ['one family alone', ['10.0.0.0/8'], '+10.0.0.0/8 | ', ['warning NobodyAllowed']],
    ['the other family alone', ['fd00::/8'], ' | +fd00::/8', ['warning NobodyAllowed']],
    ['everybody of one family', ['0.0.0.0/0'], '* | ', ['warning NobodyAllowed']],
    ['host bits', ['10.1.2.3/8', 'fd00::1/8'], '+10.0.0.0/8 | +fd00::/8', ['warning HostBits', 'warning HostBits']],
    [
      'leading zeros',
      ['010.000.0.0/08', 'fd00::/008'],
      '+10.0.0.0/8 | +fd00::/8',
      ['warning HostBits', 'warning HostBits'],
    ],
    ['IPv4 in IPv6', ['::ffff:10.0.0.0/104', 'fd00::/8'], '+10.0.0.0/8 | +fd00::/8', ['warning HostBits']],
    ['another spelling', ['FD00:0:0::/16', '0.0.0.0/0'], '* | +fd00::/16', []],
    ['one that is none', ['10.0.0.0/8', 'x', 'fd00::/8'], '+10.0.0.0/8 | +fd00::/8', ['error InvalidPrefix']],
    [
      'nothing that is one',
      ['', ' ', '10.0.0.1', '10.0.0.0/33'],
      ' | ',
      [...Array.from({ length: 4 }, () => 'error InvalidPrefix'), 'warning NobodyAllowed', 'warning NobodyAllowed'],
    ],
  ]

test('a list of ranges is read as kube-proxy reads it, and what nobody can read lets nobody in', () => {
  for (const [what, list, ranges, faults] of lists) {
    const read = raw({ ...dual, loadBalancerSourceRanges: list })
    assert.equal(shortly(read.value?.spec.sourceRanges), ranges, what)
    assert.deepEqual(found(read), faults, what)
  }
  const bare = raw({ loadBalancerSourceRanges: ['10.0.0.1', 'fd00::1'] }).faults
  assert.deepEqual(bare.map(({ remedy }) => remedy).slice(0, 2), ['Write 10.0.0.1/32.', 'Write fd00::1/128.'])
  const [bits] = raw({ loadBalancerSourceRanges: ['10.1.2.3/8'] }).faults
  assert.match(bits?.remedy ?? '', /Write 10\.0\.0\.0\/8, as which it is taken, or 10\.1\.2\.3\/32/)
  assert.deepEqual(bits?.path, ['spec', 'loadBalancerSourceRanges', 0])
})

test('a list of those who are kept out lets in everybody else; one in which something is wrong is not used', () => {
  const deny = { [policy]: ' Deny ' }
  const of = (...list: readonly string[]): ReturnType<typeof parseService> =>
    raw({ ...dual, loadBalancerSourceRanges: list }, deny)
  assert.equal(shortly(of('10.0.0.0/8').value?.spec.sourceRanges), '+0.0.0.0/0 -10.0.0.0/8 | *')
  assert.equal(shortly(of('0.0.0.0/0', '::/0').value?.spec.sourceRanges), '-0.0.0.0/0 | -::/0')
  assert.deepEqual(found(of('0.0.0.0/0', '::/0')), ['warning NobodyAllowed', 'warning NobodyAllowed'])
  assert.equal(shortly(of().value?.spec.sourceRanges), '* | *')
  assert.deepEqual([of('10.0.0.0/8', 'x').value, found(of('10.0.0.0/8', 'x'))], [undefined, ['error InvalidPrefix']])
  const odd = raw({ loadBalancerSourceRanges: ['10.0.0.0/8'] }, { [policy]: 'reject' })
  assert.equal(shortly(odd.value?.spec.sourceRanges), '+10.0.0.0/8 | ')
  assert.deepEqual(found(odd), ['warning InvalidAnnotation'])
})

test('the annotation counts where the field has nothing; a slip in its name is told', () => {
  const of = (text: string, list: readonly string[] = []): string =>
    shortly(raw({ ...dual, loadBalancerSourceRanges: list }, { [annotation]: text }).value?.spec.sourceRanges)
  assert.equal(of(' 10.0.0.0/8 ,fd00::/8'), '+10.0.0.0/8 | +fd00::/8')
  assert.equal(of('10.0.0.0/8', ['::/0', '0.0.0.0/0']), '* | *')
  assert.equal(of('  '), '* | *')
  assert.equal(of(','), ' | ', 'a list of nothing')
  for (const name of [`${annotation}s`, 'service.cilium.io/src-range-policy'])
    assert.deepEqual(found(raw({}, { [name]: 'x' })), ['warning UnknownField'], name)
  assert.deepEqual(found(raw({}, { 'service.cilium.io/lb-l7': 'enabled' })), [], 'others read others')
})

test('a list that is longer than anything real is refused as a whole', () => {
  const many = Array.from({ length: 1001 }, (_, n) => `10.${n >> 8}.${n & 255}.0/24`)
  assert.equal(raw({ loadBalancerSourceRanges: many.slice(1) }).value?.spec.sourceRanges?.ipv4?.length, 1000)
  for (const read of [raw({ loadBalancerSourceRanges: many }), raw({}, { [annotation]: many.join() })])
    assert.deepEqual([read.value, found(read)], [undefined, ['error LimitExceeded']])
})

test('only a LoadBalancer has ranges: of another type they are told', () => {
  const read = parseService({
    metadata: { name: 'web' },
    spec: { type: 'ClusterIP', clusterIPs: ['10.96.0.7'], loadBalancerSourceRanges: ['10.0.0.0/8'] },
  })
  assert.equal(read.value?.spec.sourceRanges, undefined)
  assert.deepEqual(found(read), ['warning InvalidField'])
})

test('a client stays with its pod for the time that the Service names, three hours when it names none', () => {
  const config = (timeoutSeconds: unknown): object => ({ sessionAffinityConfig: { clientIP: { timeoutSeconds } } })
  const sticky = { sessionAffinity: 'ClientIP' }
  for (const [spec, seconds] of [
    [sticky, 10_800],
    [{ ...sticky, ...config(undefined) }, 10_800],
    [{ ...sticky, ...config(null) }, 10_800],
    [{ ...sticky, ...config(1) }, 1],
    [{ ...sticky, ...config(86_400) }, 86_400],
    [{}, undefined],
    [{ sessionAffinity: 'None' }, undefined],
  ] as const) {
    const read = raw(spec)
    assert.deepEqual([read.value?.spec.affinitySec, read.faults], [seconds, []])
  }
  for (const wrong of [0, -1, 86_401, 1.5, '60'])
    assert.deepEqual(found(raw({ ...sticky, ...config(wrong) })), ['error InvalidField'], String(wrong))
  assert.deepEqual(found(raw(config(60))), ['warning InvalidField'])
})

const frontendOf = (more: string, annotations = '{}'): Frontend =>
  serviceOf(translatorWith(base + service('web', more, annotations) + slice('web')).flush(), 'web').frontends[0] ??
  assert.fail('no frontend')

test('a Service with either is served and announced, and its chain of reasons says what it does', () => {
  const ranges = frontendOf(', loadBalancerSourceRanges: [10.0.0.0/8]')
  assert.deepEqual([ranges.sources, ranges.affinitySec], [[{ prefix: '10.0.0.0/8', isAllowed: true }], undefined])
  const sticky = frontendOf(', sessionAffinity: ClientIP')
  assert.deepEqual([sticky.sources, sticky.affinitySec], [undefined, 10_800])
  assert.deepEqual(frontendOf(', loadBalancerSourceRanges: ["::/0"]').sources, [], 'of the other family alone')
  const said = (more: string, annotations?: string): string => {
    const web = serviceOf(translatorWith(base + service('web', more, annotations) + slice('web')).flush(), 'web')
    assert.equal(web.routes.length, 1)
    return web.verdicts.find(({ step }) => step === 'supported')?.message ?? ''
  }
  assert.match(said(', loadBalancerSourceRanges: [10.0.0.0/8]'), /flows from 10\.0\.0\.0\/8 alone are let in by IPv4$/)
  assert.match(said(', loadBalancerSourceRanges: [x]'), /nobody is let in by IPv4$/)
  const deny = `{${policy}: deny}`
  assert.match(said(', loadBalancerSourceRanges: [10.0.0.0/8]', deny), /flows from 10\.0\.0\.0\/8 are not let in$/)
  const both = ', loadBalancerSourceRanges: [0.0.0.0/0], sessionAffinity: ClientIP'
  assert.match(said(both), /^every field is enforced; a client stays with its pod for 10800 s$/)
})

test('a change of either is a change of the frontend alone: no route moves', () => {
  const translator = translatorWith(base + service('web') + slice('web'))
  const before = serviceOf(translator.flush(), 'web')
  for (const more of [', loadBalancerSourceRanges: [10.0.0.0/8]', ', sessionAffinity: ClientIP', '']) {
    deliver(translator, service('web', more))
    const after = serviceOf(translator.flush(), 'web')
    assert.deepEqual(after.routes, before.routes)
  }
  const annotated = change(translator, service('web', '', `{${annotation}: 192.0.2.0/24}`))
  assert.deepEqual(serviceOf(annotated, 'web').frontends[0]?.sources, [{ prefix: '192.0.2.0/24', isAllowed: true }])
})
