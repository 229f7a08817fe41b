/** Verbs that have the agent do something: over its unix socket only, never over HTTP. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { sendCommand } from '../api/client.ts'
import type { AgentCommand, CommandView } from '../api/types.ts'
import { exitCode } from './exit.ts'
import { socketOption } from './reading.ts'
import { addressOfPeer, asciiJson, paint, printable } from './text.ts'

interface CommandOptions {
  readonly output: 'table' | 'json'
  readonly socket: string
}

const withCommandOptions = (command: Command): Command =>
  command
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .addOption(socketOption('unix socket of the agent'))

function peerName(text: string): string {
  if (text === '') throw new InvalidArgumentError('Write an address, an id, or *.')
  return text
}

export function addPeerCommands(bgp: Command): void {
  withCommandOptions(bgp.command('reset').description('end a session and begin it anew, or have routes sent again'))
    .argument('<peer>', 'ADDRESS, id, or * for all', peerName)
    .addOption(
      new Option('--soft <direction>', "keep the session: out sends our routes again, in asks for the peer's").choices([
        'in',
        'out',
      ]),
    )
    .action((peer: string, options: CommandOptions & { readonly soft?: 'in' | 'out' }) =>
      give({ what: 'reset', peer, ...(options.soft === undefined ? {} : { soft: options.soft }) }, options),
    )
  withCommandOptions(bgp.command('refresh').description('ask a peer for its routes again (RFC 2918)'))
    .argument('<peer>', 'ADDRESS, id, or * for all', peerName)
    .action((peer: string, options: CommandOptions) => give({ what: 'refresh', peer }, options))
}

export function addDrain(program: Command): void {
  withCommandOptions(program.command('drain').description('move traffic away from this node and withdraw its routes'))
    .option('--undo', 'announce everything again')
    .action((options: CommandOptions & { readonly undo?: boolean }) =>
      give({ what: 'drain', undo: options.undo === true }, options),
    )
}

async function give(command: AgentCommand, { output, socket }: CommandOptions): Promise<void> {
  const view = await sendCommand(socket, command)
  process.stdout.write(output === 'json' ? asciiJson(view) : outcome(command, view))
  process.exitCode = view.refused.length === 0 ? exitCode.ok : exitCode.degraded
}

function outcome(command: AgentCommand, { applied, refused }: CommandView): string {
  if (command.what === 'drain')
    return command.undo
      ? 'drain undone: everything is announced again, unless the Node carries herald.dev/drain\n'
      : 'draining: routes carry GRACEFUL_SHUTDOWN and are withdrawn a little later; undo with `herald drain --undo`\n'
  const done = doneText(command)
  const lines = [
    ...applied.map((peer) => printable(`${addressOfPeer(peer)}: ${done}`)),
    ...refused.map(
      ({ peer, reason }) => `${paint('red', 'not done')}: ${printable(`${addressOfPeer(peer)}: ${reason}`)}`,
    ),
  ]
  return lines.map((line) => `${line}\n`).join('')
}

function doneText(command: Exclude<AgentCommand, { readonly what: 'drain' }>): string {
  if (command.what === 'refresh' || command.soft === 'in') return 'asked for its routes again'
  return command.soft === 'out' ? 'our routes are sent again' : 'session reset'
}
