import assert from 'node:assert/strict'
import { test } from 'node:test'
import { columns, drawPicture, type Picture } from '../../lab/picture.ts'

const table = new Map([
  ['10.244.1.0/24', ['node1']],
  ['198.51.100.0/32', ['node1', 'node2']],
])
const picture: Picture = {
  nodes: ['node1', 'node2'],
  sessions: new Map([
    [
      'tor1',
      new Map([
        ['node1', 'Established'],
        ['node2', 'Active'],
      ]),
    ],
    ['tor2', new Map([['node1', 'Established']])],
  ]),
  routes: new Map([
    ['tor1', table],
    ['tor2', new Map([['10.244.1.0/24', ['node1']]])],
  ]),
  meaning: new Map([
    ['10.244.1.0/24', 'PodCIDR of node1'],
    ['198.51.100.0/32', 'default/web'],
  ]),
  served: { url: 'http://198.51.100.0/', pod: 'pod2a', node: 'node2', client: '203.0.113.10:4711', tookMs: 1.25 },
  spread: { 'pod2a on node2': 25, 'pod1a on node1': 15 },
  workFolder: '/tmp/w',
  folder: '/tmp/w/rack',
  webAddress: '198.51.100.0',
}

const draw = (more: Partial<Picture>): string => drawPicture({ ...picture, ...more }, (text) => text).join('\n')

test('the picture shows every session with its state, and a missing one as missing', () => {
  assert.match(draw({}), /tor1 +Established +Active\n +tor2 +Established +-/)
})

test('the picture shows the next hops of a prefix on each router side by side', () => {
  assert.match(draw({}), /198\.51\.100\.0\/32 +default\/web +node1 node2 +-/)
})

test('the picture says who asked, who served and how the rest was spread', () => {
  assert.match(
    draw({}),
    /client 203\.0\.113\.10:4711 {2}-> {2}http:\/\/198\.51\.100\.0\/ {2}-> {2}node2 {2}-> {2}pod2a +1\.[23] ms\n +40 more: pod1a on node1 15, pod2a on node2 25/,
  )
})

test('without a datapath the picture says that nothing is served, and why', () => {
  const text = draw({ served: undefined, webAddress: undefined })
  assert.match(text, /nothing: without eBPF on this machine/)
  assert.doesNotMatch(text, /herald observe/)
  assert.match(draw({}), /\/node2 herald observe -f/)
})

test('on an API server the picture names its kubeconfig and kubectl, and no folder that agents read', () => {
  const text = draw({ api: { kubeconfig: '/tmp/w/kubeconfig', programs: '/opt/k' } })
  assert.match(text, /export KUBECONFIG=\/tmp\/w\/kubeconfig/)
  assert.match(text, /export PATH=\$PATH:\/opt\/k/)
  assert.match(text, /herald explain service echo --cluster/)
  assert.match(text, /kubectl apply -f \/tmp\/w\/rack\/manifests/)
  assert.doesNotMatch(text, /\$EDITOR|rm \/tmp/)
})

test('columns are as wide as their widest cell and end without blanks', () => {
  assert.deepEqual(
    columns([
      ['a', 'bb', ''],
      ['aaa', 'b', ''],
    ]),
    ['    a     bb', '    aaa   b'],
  )
})
