/** Which version is in force, and when: without files, against a clock of numbers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ManifestFile } from '../../src/k8s/directory/manifest-file.ts'
import { ManifestRecord } from '../../src/k8s/directory/manifest-record.ts'
import { objectId } from '../../src/k8s/documents.ts'
import { ObjectVersions, type Change } from '../../src/k8s/object-versions.ts'
import { shapeOf } from '../../src/k8s/shape.ts'
import type { ObjectVersion } from '../../src/k8s/source.ts'
import type { Path } from '../../src/k8s/yaml.ts'

const patience = { confirmMs: 1000, confirmAllMs: 3000, cutMs: 50 }

interface Written {
  readonly name?: string
  readonly file?: ManifestFile
  readonly apiVersion?: string
  readonly value?: unknown
  readonly digest?: number
  readonly version?: ObjectVersion
  readonly openPath?: Path
}

let digests = 0

function record(written: Written = {}): ManifestRecord {
  const { name = 'web', file = new ManifestFile('a.yaml'), apiVersion = 'cilium.io/v2', value = {} } = written
  const key = { apiVersion, kind: 'CiliumLoadBalancerIPPool', namespace: '', name }
  const made = new ManifestRecord(key, {
    id: objectId(key),
    path: [],
    version: written.version ?? {},
    digest: written.digest ?? ++digests,
    shape: shapeOf(value),
    source: file,
    locate: ({ firstLine }) => ({ line: firstLine, column: 1 }),
  })
  made.openPath = written.openPath
  return made
}

class Looks {
  readonly versions = new ObjectVersions(patience)
  now = 0

  /** Puts a record in force. */
  hold(found: ManifestRecord): ManifestRecord {
    this.versions.replace(undefined, found)
    assert.equal(this.look(found)?.upsert, found)
    return found
  }

  look({ id }: ManifestRecord, afterMs = 0, isAtHand = true): Change | undefined {
    this.now += afterMs
    this.versions.beginLook()
    this.versions.pending()
    return this.versions.decide(id, this.now, () => isAtHand)
  }
}

/** So that one object is not nearly all of them. */
function withOthers(looks: Looks): void {
  for (let other = 0; other < 20; other++) looks.hold(record({ name: `other-${other}` }))
}

test('what vanished goes after a second and three looks, whichever comes last', () => {
  const looks = new Looks()
  withOthers(looks)
  const found = looks.hold(record())
  looks.versions.absent(found)
  assert.equal(looks.look(found), undefined)
  assert.equal(looks.look(found, 5000), undefined, 'two looks are not enough')
  assert.deepEqual(looks.look(found, 1), { remove: found, isLoss: true })
  const again = looks.hold(record())
  looks.versions.absent(again)
  for (let look = 0; look < 9; look++) assert.equal(looks.look(again, 100), undefined)
  assert.equal(looks.look(again, 100), undefined)
  assert.deepEqual(looks.look(again, 100), { remove: again, isLoss: true })
  assert.deepEqual([looks.versions.size, looks.versions.unconfirmed], [20, 0])
})

test('several questions in one look are one look', () => {
  const looks = new Looks()
  withOthers(looks)
  const found = looks.hold(record())
  looks.versions.absent(found)
  looks.look(found)
  for (let more = 0; more < 5; more++)
    assert.equal(
      looks.versions.decide(found.id, looks.now + 5000, () => true),
      undefined,
    )
})

test('nearly everything that vanishes at once takes three times as long', () => {
  const looks = new Looks()
  const found = looks.hold(record())
  looks.versions.absent(found)
  for (let look = 0; look < 6; look++) assert.equal(looks.look(found, 500), undefined)
  assert.equal(looks.versions.isNearlyAllGone, true)
  assert.equal(looks.look(found, 500)?.remove, found)
})

test('a version that lost a part waits until its file was quiet for the time, or ten times as long', () => {
  const looks = new Looks()
  const file = new ManifestFile('a.yaml')
  const full = looks.hold(record({ file, value: { a: 1, b: 2 } }))
  const less = record({ file, value: { a: 1 } })
  looks.versions.replace(full, less)
  let waitedMs = 0
  for (; waitedMs < 9_500; waitedMs += 500) {
    file.changedAt = looks.now
    assert.equal(looks.look(less, 500), undefined)
  }
  file.changedAt = looks.now
  looks.look(less, 500)
  file.changedAt = looks.now
  assert.deepEqual(looks.look(less, 500), { upsert: less, isLoss: true })
})

test('a version that is back before it was confirmed gone is adopted; its origin follows', () => {
  const looks = new Looks()
  const found = looks.hold(record({ digest: 7 }))
  looks.versions.absent(found)
  looks.look(found)
  const moved = record({ file: new ManifestFile('b.yaml'), digest: 7 })
  moved.firstLine = 12
  looks.versions.replace(undefined, moved)
  assert.equal(looks.look(moved), undefined)
  assert.deepEqual([found.file, found.line, found.locate(['spec']).line], ['b.yaml', 12, 12])
  assert.deepEqual([looks.versions.unconfirmed, looks.versions.nextLookMs], [0, undefined])
})

test('of two files the first wins; when it goes for a moment the second does not take over', () => {
  const looks = new Looks()
  const second = looks.hold(record({ file: new ManifestFile('b.yaml') }))
  const first = record({ file: new ManifestFile('a.yaml') })
  looks.versions.replace(undefined, first)
  assert.equal(looks.look(first)?.upsert, first)
  assert.deepEqual(
    looks.versions.problems().map(({ code, object }) => [code, object.file]),
    [['DuplicateObject', 'b.yaml']],
  )
  looks.versions.absent(first)
  assert.equal(looks.look(first), undefined)
  const back = record({ file: new ManifestFile('a.yaml'), digest: first.digest })
  looks.versions.replace(undefined, back)
  assert.equal(looks.look(back), undefined)
  looks.versions.absent(back)
  for (let look = 0; look < 3; look++) looks.look(back, 400)
  assert.equal(looks.look(back, 400)?.upsert, second)
  assert.deepEqual(looks.versions.problems(), [])
})

test('another uid is removed and delivered at once, another apiVersion delivered, one that is not served removed', () => {
  const looks = new Looks()
  const file = new ManifestFile('a.yaml')
  const first = looks.hold(record({ file, version: { uid: '1' }, value: { a: 1 } }))
  const other = record({ file, version: { uid: '2' } })
  looks.versions.replace(first, other)
  assert.deepEqual(looks.look(other), { remove: first, upsert: other, isLoss: false })
  const alpha = record({ file, apiVersion: 'cilium.io/v2alpha1', digest: other.digest })
  looks.versions.replace(other, alpha)
  assert.deepEqual(looks.look(alpha), { upsert: alpha, isLoss: false })
  const unknown = record({ file, apiVersion: 'cilium.io/v9' })
  looks.versions.replace(alpha, unknown)
  looks.look(unknown)
  looks.look(unknown, 600)
  assert.deepEqual(looks.look(unknown, 600), { remove: alpha, upsert: unknown, isLoss: true })
})

test('a file that may be cut in its last line is given a moment; what cannot be read again is not in force', () => {
  const looks = new Looks()
  const file = new ManifestFile('a.yaml')
  file.isCut = true
  const found = record({ file, openPath: ['spec', 'x'] })
  looks.versions.replace(undefined, found)
  assert.equal(looks.look(found), undefined)
  assert.equal(looks.versions.nextLookMs, 50)
  assert.equal(looks.look(found, 60, false), undefined, 'its text is not at hand')
  assert.equal(looks.versions.size, 0)
  assert.equal(looks.look(found, 1)?.upsert, found)
})

test('whatever comes and goes within the patience, an object that is always back is never removed', () => {
  const step = fc.record({ isThere: fc.boolean(), digest: fc.nat(2), ms: fc.nat(300) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const looks = new Looks()
      withOthers(looks)
      let found = looks.hold(record({ digest: 0 }))
      let [isThere, awayMs] = [true, 0]
      for (const { isThere: now, digest, ms } of steps) {
        const mustBeBack = awayMs + ms >= 1000
        const isBack = now || mustBeBack
        if (isThere && !isBack) looks.versions.absent(found)
        if (isBack) {
          const next = record({ digest })
          looks.versions.replace(isThere ? found : undefined, next)
          found = next
        }
        awayMs = isBack ? 0 : awayMs + ms
        isThere = isBack
        assert.equal(looks.look(found, ms)?.remove, undefined)
      }
      assert.equal(looks.versions.size, 21)
    }),
  )
})
