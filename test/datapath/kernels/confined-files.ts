/** What the pod of the chart needs in a machine: the image, its template, a runtime, and a profile with its loader. */
import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { only, render, skip as noHelm } from '../../chart/helm.ts'
import { layOutImage, skip as noImage } from '../../chart/image.ts'
import { whyNoPods } from '../../chart/pod.ts'
import type { Entry } from './archive.ts'
import { presentParser } from './packages.ts'
import { confined, manifests, profileText } from './profile.ts'
import { whereIs } from './programs.ts'

const parser = presentParser()

/** Why no pod can be confined in a machine. */
export function whyNotConfined(): string | undefined {
  if (typeof parser === 'string') return parser
  return [noHelm, noImage, whyNoPods()].find((why) => typeof why === 'string') || undefined
}

/** By the names by which they are called. */
export function confinedPrograms(): Readonly<Record<string, string>> {
  return typeof parser === 'string' ? {} : { apparmor_parser: parser.path, runc: whereIs('runc') }
}

/** The agent of the chart as it is, but that it reads a folder, and that nothing compiles on an emulated processor. */
const values = [
  ...['socketLB.enabled=true', 'extraArgs={--manifests=/manifests}'],
  ...['extraEnv[0].name=NODE_OPTIONS', 'extraEnv[0].value=--jitless'],
  ...['extraVolumes[0].name=manifests', `extraVolumes[0].hostPath.path=${confined.folder}/manifests`],
  ...['extraVolumeMounts[0].name=manifests', 'extraVolumeMounts[0].mountPath=/manifests'],
].flatMap((value) => ['--set', `agent.${value}`])

/** `work`: a folder for what is built. */
export async function confinedFiles(work: string): Promise<readonly Entry[]> {
  const daemonSet = only(await render(...values), 'DaemonSet') as unknown as {
    readonly spec: { readonly template: { readonly spec: object } }
  }
  mkdirSync(work)
  const image = layOutImage(work)
  const files = readdirSync(image, { recursive: true, encoding: 'utf8' })
    .map((name) => join(image, name))
    .filter((file) => statSync(file).isFile())
    .map((file): Entry => ({ path: `/${relative(image, file)}`, content: { file } }))
  const at = (path: string, text: string): Entry => ({ path: `${confined.folder}/${path}`, content: { text } })
  return [
    // The machine has it already, and makes a link.
    ...files
      .filter(({ path }) => path !== confined.nodeProgram)
      .map(({ path, content }) => ({ path: `${confined.folder}/image${path}`, content })),
    at('pod.json', JSON.stringify(daemonSet.spec.template.spec)),
    at('profile', profileText),
    at('manifests/all.yaml', manifests),
  ]
}
