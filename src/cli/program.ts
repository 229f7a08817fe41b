/** All verbs, one file each, as one commander program. Reading verbs load nothing of the daemon. */
import { findPackageJSON } from 'node:module'
import { Command } from 'commander'
import { addAgent } from './agent.ts'
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
import { addValidate } from './validate.ts'
import { addVersion } from './version.ts'

export function createProgram(): Command {
  const program = new Command('herald').description('BGP and eBPF for Kubernetes on bare metal')
  addStatus(program)
  addBgp(program)
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
  for (const command of [program, ...descendants(program)])
    command.exitOverride().showHelpAfterError('(--help lists what there is)')
  return program
}

/** The command's children, their children and so on. */
export function descendants(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...descendants(child)])
}
