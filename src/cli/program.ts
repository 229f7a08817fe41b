/** All verbs, one file each, as one commander program. Reading verbs load nothing of the daemon. */
import { findPackageJSON } from 'node:module'
import { Command } from 'commander'
import { addAgent } from './agent.ts'
import { addBfd } from './bfd.ts'
import { addBgp } from './bgp.ts'
import { addDrain } from './command.ts'
import { addCompletion } from './completion.ts'
import { addExplain } from './explain.ts'
import { addLb } from './lb.ts'
import { addLaterVerbs } from './later-verbs.ts'
import { addMigrate } from './migrate.ts'
import { addObserve } from './observe.ts'
import { addOperator } from './operator.ts'
import { addReplay } from './replay.ts'
import { addStatus } from './status.ts'
import { saysAsOurs } from './usage.ts'
import { addValidate } from './validate.ts'
import { addVersion } from './version.ts'

export function createProgram(): Command {
  const program = new Command('herald').description('BGP and eBPF for Kubernetes on bare metal')
  addStatus(program)
  addBgp(program)
  addBfd(program)
  addLb(program)
  addObserve(program)
  addExplain(program)
  addValidate(program)
  addMigrate(program)
  addReplay(program)
  addDrain(program)
  addAgent(program)
  addOperator(program)
  addVersion(program, findPackageJSON(import.meta.url) ?? 'package.json')
  addCompletion(program)
  addLaterVerbs(program)
  saysAsOurs(program)
  return program
}

/**
 * `help bgp peers` is `bgp peers --help`: commander's own help looks at one word. `--version` is the verb. What a
 * person says to kubectl of the cluster may come before the verb, as kubectl itself has it.
 */
export function wordsOf(all: readonly string[]): readonly string[] {
  const words = verbFirst(all)
  const [first, ...rest] = words
  if (first === '--version') return ['version', ...rest]
  return first === 'help' && rest.length > 1 ? [...rest, '--help'] : words
}

const ofKubectl = /^(--kubeconfig|--context|--namespace|-n)(=|$)/

function verbFirst(words: readonly string[]): readonly string[] {
  let at = 0
  for (let found = ofKubectl.exec(words[0] ?? ''); found !== null; found = ofKubectl.exec(words[at] ?? ''))
    at += found[2] === '=' ? 1 : 2
  const end = words.indexOf('--', at)
  const [verb, behind] = end < 0 ? [words.slice(at), []] : [words.slice(at, end), words.slice(end)]
  return [...verb, ...words.slice(0, at), ...behind]
}
