/** Reports of a move, made of the text of manifests. */
import { migrationParts } from '../../src/api/migration.ts'
import type { Finding, MovingReport, Unread } from '../../src/k8s/dialects/moving/report.ts'
import { readDocuments } from '../../src/k8s/documents.ts'
import { type MovingOptions, movingReport } from '../../src/k8s/moving.ts'

export interface Around {
  readonly unread?: readonly Unread[]
  readonly isWhole?: boolean
}

/** What has another form than docs/json.md says throws. */
export function reportOf(text: string, options: Partial<MovingOptions> = {}, around: Around = {}): MovingReport {
  return judged(text, { backend: 'frr-k8s', ...options }, around)
}

/** The same where nobody says which backend it is. */
export function judged(text: string, options: Partial<MovingOptions> = {}, around: Around = {}): MovingReport {
  const objects = readDocuments('f.yaml', text).flatMap((document) => document.objects)
  const report = movingReport(
    { objects, unread: around.unread ?? [], isWhole: around.isWhole ?? false },
    { from: 'metallb', secretsNamespace: 'kube-system', ...options },
  )
  migrationParts.Migration.strict().parse(report)
  return report
}

/** All that is said under a code, of the differences and of what to look at first. */
export function saidOf({ differences, preflight }: MovingReport, code: string): readonly Finding[] {
  return [...differences, ...preflight].filter((each) => each.code === code)
}

export const codesIn = ({ differences }: MovingReport): readonly string[] =>
  [...new Set(differences.map(({ code }) => code))].sort()

/** A DaemonSet or Deployment of one container, whose inside of a YAML map is given. */
export function workload(kind: 'DaemonSet' | 'Deployment', name: string, container: string, more = ''): string {
  return `---
apiVersion: apps/v1
kind: ${kind}
metadata: {name: ${name}, namespace: metallb-system}
spec: {template: {spec: {containers: [{name: main, ${container}}]}}${more}}
`
}

export const speaker = (backend: string, more = ''): string =>
  workload(
    'DaemonSet',
    'metallb-speaker',
    `image: quay.io/metallb/speaker:v0.16.1, env: [{name: METALLB_BGP_TYPE, value: ${backend}}]${more}`,
  )
export const controller = (more = ''): string =>
  workload('Deployment', 'metallb-controller', `image: quay.io/metallb/controller:v0.16.1${more}`)
