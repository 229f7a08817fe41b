/** A moment of absence is not a deletion (per object, and per part of one). */
import assert from 'node:assert/strict'
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { following, withPort, type Followed } from './directory-world.ts'
import { policyWith, service, slice, write } from './manifests.ts'
import { waitFor } from '../wait.ts'

const neighbors = ['192.168.1.1', '192.168.1.2', '192.168.1.3'].map(
  (address) => `{peerAddress: ${address}/32, peerASN: 65000}`,
)
const policy = policyWith(...neighbors)
const put = (folder: string, name: string, text: string): void => writeFileSync(join(folder, name), text)

function neighborCount({ objects }: Followed): number | undefined {
  return JSON.stringify(objects.get('CiliumBGPPeeringPolicy bgp-peering'))?.match(/peerAddress/g)?.length
}

test('a file that is away for a moment costs nothing; away for good its objects go, and that is noted', () =>
  following(
    (folder) => {
      put(folder, 'a.yaml', service('one'))
      put(folder, 'b.yaml', service('two') + service('three'))
    },
    ({ folder, look, confirm, log, notes, objects, source }) => {
      confirm()
      renameSync(join(folder, 'a.yaml'), join(folder, '.a'))
      look(2)
      assert.equal(source.state.unconfirmed, 1)
      renameSync(join(folder, '.a'), join(folder, 'a.yaml'))
      look()
      assert.deepEqual([log, source.state.unconfirmed], [['+one', '+two', '+three', 'synced'], 0])
      unlinkSync(join(folder, 'a.yaml'))
      confirm()
      assert.deepEqual([...objects.keys()], ['Service two', 'Service three'])
      assert.deepEqual(notes, ['gone from the folder, confirmed: Service default/one (was in a.yaml)'])
    },
  ))

test('what is not there at the first look is confirmed by one a second later, which whoever waits for it is told of', () =>
  following(
    (folder) => put(folder, 'a.yaml', service('one')),
    ({ folder, clock, log, source, flushes }) => {
      put(folder, 'b.yaml', service('two'))
      source.rescan()
      clock.advance(900)
      assert.deepEqual([log, source.state.unconfirmed], [['+one', 'synced', '+two'], 1], 'it was only being moved')
      const before = flushes()
      clock.advance(200)
      assert.deepEqual([source.state.unconfirmed, flushes() > before], [0, true])
      clock.advance(60_000)
      assert.equal(source.state.unconfirmed, 0)
    },
    { rescanMs: 600_000 },
  ))

test('files that change all the time put off neither the second look nor those that find what nobody tells', () =>
  following(
    (folder) => {
      put(folder, 'a.yaml', withPort('busy', 100))
      mkdirSync(join(folder, '.elsewhere'))
      put(folder, '.elsewhere/linked', withPort('linked', 80))
      symlinkSync('.elsewhere/linked', join(folder, 'b.yaml'))
    },
    async ({ folder, clock, source, port }) => {
      put(folder, '.elsewhere/linked', withPort('linked', 8080))
      for (let change = 101; change < 110; change++) {
        put(folder, 'a.yaml', withPort('busy', change))
        await waitFor(`the notice of change ${change}`, () => {
          clock.advance(3)
          return port('busy') === String(change)
        })
        clock.advance(300)
      }
      assert.deepEqual([source.state.unconfirmed, port('linked')], [0, '8080'])
    },
  ))

test('an object is gone after three looks and a second, and not before either', () =>
  following(
    (folder) => put(folder, 'a.yaml', Array.from({ length: 20 }, (_, i) => service(`s-${i}`)).join('')),
    ({ folder, clock, log, source }) => {
      const synced = log.length
      put(folder, 'a.yaml', Array.from({ length: 19 }, (_, i) => service(`s-${i}`)).join(''))
      source.rescan()
      clock.advance(900)
      assert.equal(log.length, synced)
      clock.advance(600)
      assert.deepEqual(log.slice(synced), ['-s-19'])
    },
    { rescanMs: 60_000 },
  ))

test('what appears meanwhile, and what changes without losing anything, is delivered at once', () =>
  following(
    (folder) => put(folder, 'a.yaml', withPort('one', 80) + withPort('two', 80)),
    ({ folder, look, log, port }) => {
      put(folder, 'a.yaml', withPort('one', 81) + withPort('three', 80))
      look()
      assert.deepEqual(log.slice(3), ['+one', '+three'])
      assert.deepEqual([port('one'), port('two'), port('three')], ['81', '80', '80'])
    },
  ))

test('of a neighbor list that is cut no neighbor is lost; one that stays away goes in the end', () =>
  following(
    (folder) => put(folder, 'policy.yaml', policy),
    (followed) => {
      const { folder, look, confirm, log } = followed
      for (let end = policy.indexOf('    - {peer'); end < policy.length; end++) {
        put(folder, 'policy.yaml', policy.slice(0, end))
        look()
        assert.equal(neighborCount(followed), 3, `cut at ${end}`)
      }
      put(folder, 'policy.yaml', policy)
      look()
      assert.deepEqual(log, ['+bgp-peering', 'synced'])
      put(folder, 'policy.yaml', policyWith(...neighbors.slice(0, 2)))
      confirm()
      assert.equal(neighborCount(followed), 2)
    },
  ))

test('one neighbor in the place of another is one that is lost: it waits, while a changed value does not', () =>
  following(
    (folder) => put(folder, 'policy.yaml', policy),
    (followed) => {
      const { folder, look, confirm, log, objects } = followed
      const other = '{peerAddress: 192.168.1.9/32, peerASN: 65000}'
      put(folder, 'policy.yaml', policyWith(...neighbors.slice(0, 2), other))
      look(2)
      assert.deepEqual(log, ['+bgp-peering', 'synced'])
      put(folder, 'policy.yaml', policyWith(other, ...neighbors).replace('PodCIDR: true', 'PodCIDR: false'))
      look()
      assert.deepEqual(log.slice(2), ['+bgp-peering'])
      assert.match(JSON.stringify([...objects.values()]), /"exportPodCIDR":false/)
      put(folder, 'policy.yaml', policyWith(other))
      confirm()
      assert.equal(neighborCount(followed), 1)
    },
  ))

const secret =
  'apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: default}\n' +
  'stringData:\n  password: |\n    one\n    two\n'

test('a text of several lines that gets shorter is a part that is lost, a value without an end of line is awaited', () =>
  following(
    (folder) => put(folder, 'a.yaml', secret),
    ({ folder, clock, source, log, objects }) => {
      truncateSync(join(folder, 'a.yaml'), secret.indexOf('    two'))
      source.rescan()
      clock.advance(500)
      assert.deepEqual(log, ['+a', 'synced'])
      put(folder, 'b.yaml', secret.replace('name: a', 'name: b').replace(/\|.*/s, 'hal'))
      source.rescan()
      clock.advance(20)
      assert.equal(objects.has('Secret b'), false)
      appendFileSync(join(folder, 'b.yaml'), 'f')
      source.rescan()
      clock.advance(20)
      assert.equal(objects.has('Secret b'), false)
      clock.advance(200)
      assert.match(JSON.stringify(objects.get('Secret b')), /"half"/)
    },
  ))

test('while a file goes on changing, what it lacks is not believed; after ten times the patience it is', () =>
  following(
    (folder) => put(folder, 'a.yaml', service('one') + service('two') + service('three')),
    ({ folder, clock, source, objects }) => {
      for (let round = 0; round < 18; round++) {
        put(folder, 'a.yaml', `${service('one')}# ${round}\n${service('three')}`)
        source.rescan()
        clock.advance(500)
      }
      assert.ok(objects.has('Service two'))
      for (let round = 18; round < 26; round++) {
        put(folder, 'a.yaml', `${service('one')}# ${round}\n${service('three')}`)
        source.rescan()
        clock.advance(500)
      }
      assert.equal(objects.has('Service two'), false)
    },
  ))

test('endpoints that go are believed at once where the file shows its end, and confirmed where it may be cut', () =>
  following(
    (folder) => {
      put(folder, 'flow.yaml', slice('flow'))
      put(folder, 'block.yaml', blockSlice(3))
    },
    ({ folder, look, confirm, log, objects }) => {
      const count = (name: string): number =>
        JSON.stringify(objects.get(`EndpointSlice ${name}`)).match(/"addresses"/g)?.length ?? 0
      put(folder, 'flow.yaml', slice('flow').replace(/endpoints: .*/, 'endpoints: []'))
      put(folder, 'block.yaml', blockSlice(2))
      look()
      assert.deepEqual([log.slice(3), count('flow-1'), count('block')], [['+flow-1'], 0, 3])
      confirm()
      assert.equal(count('block'), 2)
    },
  ))

function blockSlice(endpoints: number): string {
  const each = Array.from(
    { length: endpoints },
    (_, i) => `- addresses: [10.244.1.${i}]\n  conditions: {ready: true}\n`,
  )
  return (
    'apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: block, namespace: default}\n' +
    `addressType: IPv4\nports: [{port: 8080}]\nendpoints:\n${each.join('')}`
  )
}

test('a checkout that moves manifests between files and folders delivers nothing', () =>
  following(
    (folder) => {
      mkdirSync(join(folder, 'team'))
      put(folder, 'a.yaml', service('one'))
      put(folder, 'team/b.yaml', service('two') + service('three'))
    },
    ({ folder, look, confirm, log, origins }) => {
      rmSync(join(folder, 'team'), { recursive: true })
      look()
      unlinkSync(join(folder, 'a.yaml'))
      look()
      mkdirSync(join(folder, 'other'))
      put(folder, 'other/all.yaml', `# moved\n${service('three')}${service('one')}${service('two')}`)
      look()
      confirm()
      assert.deepEqual(log, ['+one', '+two', '+three', 'synced'])
      const place = origins.get('Service two')
      assert.deepEqual([place?.file, place?.line], ['other/all.yaml', 13])
      assert.deepEqual(place?.locate(['spec', 'type']), { line: 16, column: 14 })
    },
  ))

test('an empty folder is confirmed for longer; one that is not there, or cannot be listed, says nothing for ever', () =>
  following(
    (folder) => {
      mkdirSync(join(folder, 'm'))
      for (const name of ['one', 'two']) put(folder, `m/${name}.yaml`, service(name))
    },
    ({ folder, clock, log, source, problems }) => {
      renameSync(join(folder, 'm'), join(folder, '.m'))
      mkdirSync(join(folder, 'm'))
      source.rescan()
      clock.advance(2500)
      assert.deepEqual(log, ['+one', '+two', 'synced'])
      rmSync(join(folder, 'm'), { recursive: true })
      renameSync(join(folder, '.m'), join(folder, 'm'))
      clock.advance(3000)
      renameSync(folder, `${folder}-away`)
      clock.advance(600_000)
      assert.deepEqual([log.length, source.state.isReachable, source.state.objects], [3, false, 2])
      assert.deepEqual(
        problems().map(({ code }) => code),
        ['Unreadable'],
      )
      assert.match(source.state.ofKind('Service').problem ?? '', /ENOENT/)
      renameSync(`${folder}-away`, folder)
      clock.advance(5000)
      assert.deepEqual([log.length, source.state.isReachable, problems().length], [3, true, 0])
      rmSync(join(folder, 'm'), { recursive: true })
      clock.advance(6000)
      assert.deepEqual([log.slice(3).sort(), source.state.hasHadObjects], [['-one', '-two'], true])
    },
  ))

test('a link to the folder of manifests that is switched, as for a ConfigMap, delivers the difference only', () =>
  following(
    (folder) => {
      for (const version of ['..1', '..2']) {
        mkdirSync(join(folder, version))
        put(folder, `${version}/one.yaml`, withPort('one', version === '..1' ? 80 : 81))
        put(folder, `${version}/two.yaml`, service('two'))
      }
      symlinkSync('..1', join(folder, '..data'))
      for (const name of ['one', 'two']) symlinkSync(`..data/${name}.yaml`, join(folder, `${name}.yaml`))
      symlinkSync('..data', join(folder, 'linked'))
    },
    ({ folder, look, log }) => {
      unlinkSync(join(folder, '..data'))
      look(2)
      symlinkSync('..2', join(folder, '..data'))
      look()
      assert.deepEqual(log, ['+one', '+two', 'synced', '+one'])
    },
  ))

test(
  'a file that cannot be read, or became something else, keeps its objects as long as it is so',
  { skip: false },
  () =>
    following(
      (folder) => {
        for (const name of ['one', 'two', 'three']) put(folder, `${name}.yaml`, service(name))
        mkdirSync(join(folder, 'sub'))
        put(folder, 'sub/four.yaml', service('four'))
      },
      ({ folder, clock, log, problems, objects }) => {
        unlinkSync(join(folder, 'one.yaml'))
        mkdirSync(join(folder, 'one.yaml'))
        writeFileSync(join(folder, 'two.yaml'), Buffer.from([0x61, 0x3a, 0x20, 0xff]))
        rmSync(join(folder, 'sub'), { recursive: true })
        symlinkSync('sub', join(folder, 'sub'))
        clock.advance(60_000)
        assert.deepEqual(log, ['+one', '+four', '+three', '+two', 'synced'])
        assert.equal(objects.size, 4)
        assert.deepEqual(
          problems()
            .map(({ code, object }) => [code, object.name])
            .sort(),
          [
            ['InvalidEncoding', 'two.yaml'],
            ['Unreadable', 'one.yaml'],
            ['Unreadable', 'sub'],
          ],
        )
      },
    ),
)

test('a comment, a blank line, another order or style, a touched file: nothing is delivered', () =>
  following(
    (folder) => put(folder, 'a.yaml', service('one') + service('two')),
    ({ folder, look, log, origins }) => {
      const before = origins.get('Service two')?.line ?? 0
      put(folder, 'a.yaml', `# a comment\n\n${service('one')}\n${service('two')}# the end\n`)
      look()
      assert.equal(origins.get('Service two')?.line, before + 3)
      utimesSync(join(folder, 'a.yaml'), 1, 1)
      look()
      put(folder, 'a.yaml', service('two') + service('one').replace('kind: Service', 'kind:   "Service"'))
      look()
      assert.deepEqual(log, ['+one', '+two', 'synced'])
      assert.equal(origins.get('Service two')?.line, 2)
    },
  ))

test('another uid is another object, another apiVersion the same one, a version that is not served a removal', () =>
  following(
    (folder) => {
      put(folder, 'a.yaml', service('one').replace('name: one', 'name: one, uid: u1'))
      put(folder, 'pool.yaml', poolOf('v2'))
    },
    ({ folder, look, confirm, log }) => {
      put(folder, 'a.yaml', service('one').replace('name: one', 'name: one, uid: u2'))
      put(folder, 'pool.yaml', poolOf('v2alpha1'))
      look()
      assert.deepEqual(log.slice(3), ['-one', '+one', '+pool'])
      put(folder, 'pool.yaml', poolOf('v9'))
      look()
      assert.equal(log.length, 6)
      confirm()
      assert.deepEqual(log.slice(6), ['-pool', '+pool'])
    },
  ))

function poolOf(version: string): string {
  return `apiVersion: cilium.io/${version}\nkind: CiliumLoadBalancerIPPool\nmetadata: {name: pool}\nspec: {blocks: [{cidr: 198.51.100.0/28}]}\n`
}

test('a consumer that throws at one object costs no other object anything, and what it threw is not quoted', () =>
  following(
    (folder) => put(folder, 'a.yaml', service('one') + service('two') + service('three')),
    async ({ folder, clock }) => {
      const { directorySource } = await import('../../src/k8s/directory.ts')
      const seen: string[] = []
      let told = ''
      const source = directorySource({ directory: folder, clock })
      const started = source.start({
        upsert: ({ name }) => {
          if (name === 'two') throw new TypeError('password: secret')
          seen.push(name)
        },
        remove: () => {},
        problems: (list) => {
          told = JSON.stringify(list)
        },
        flush: () => {},
        synced: () => {},
      })
      clock.advance(10)
      await started
      await source.stop()
      assert.deepEqual(seen, ['one', 'three'])
      assert.match(told, /TypeError/)
      assert.doesNotMatch(told, /secret/)
    },
  ))

type Move = (folder: string, text: () => string, followed: Followed) => void

/** What editors and tools do to a file; each leaves every object that it found. */
const moves: readonly Move[] = [
  (folder, text, { look }) => {
    const whole = text()
    truncateSync(join(folder, 'a.yaml'))
    for (let at = 0; at < whole.length; at += 97) {
      appendFileSync(join(folder, 'a.yaml'), whole.slice(at, at + 97))
      if (at % 3 === 0) look()
    }
  },
  (folder, text) => write(folder, 'a.yaml', text()),
  (folder, text, { look }) => {
    unlinkSync(join(folder, 'a.yaml'))
    look()
    put(folder, 'a.yaml', text())
  },
  (folder, _text, { look }) => {
    mkdirSync(join(folder, 'sub'), { recursive: true })
    const from = readdirSync(join(folder, 'sub')).length > 0 ? 'sub/b.yaml' : 'b.yaml'
    renameSync(join(folder, from), join(folder, '.b'))
    look()
    renameSync(join(folder, '.b'), join(folder, from === 'b.yaml' ? 'sub/b.yaml' : 'b.yaml'))
  },
  (folder, _text, { look }) => {
    chmodSync(join(folder, 'a.yaml'), 0)
    renameSync(folder, `${folder}-away`)
    look()
    renameSync(`${folder}-away`, folder)
    chmodSync(join(folder, 'a.yaml'), 0o644)
  },
]

test('whatever an editor does, an object that is there before and after is never lost, nor is a part of it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(moves.length - 1), fc.nat(9), fc.array(fc.nat(9))), { maxLength: 8 }),
      async (steps) => {
        await following(
          (folder) => {
            put(folder, 'a.yaml', policy + service('one'))
            put(folder, 'b.yaml', service('two'))
          },
          (followed) => {
            for (const [move, port, extra] of steps) {
              const added = [...new Set(extra)].map((name) => service(`x-${name}`)).join('')
              moves[move]?.(followed.folder, () => policy + added + withPort('one', 80 + port), followed)
              followed.look()
            }
            assert.equal(neighborCount(followed), 3)
            assert.deepEqual(
              followed.log.filter((entry) => ['-bgp-peering', '-one', '-two'].includes(entry)),
              [],
            )
            assert.ok(followed.objects.has('Service one') && followed.objects.has('Service two'))
          },
        )
      },
    ),
    { numRuns: 40 },
  )
})
