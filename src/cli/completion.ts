/** `herald completion bash|zsh|fish`: made from the verbs themselves. */
import { type Command, InvalidArgumentError } from 'commander'

const shells = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof shells)[number]

export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a completion script')
    .argument('<shell>', shells.join(', '), (shell: string) => {
      if (!shells.some((known) => known === shell)) throw new InvalidArgumentError(`Allowed: ${shells.join(', ')}.`)
      return shell
    })
    .action((shell: Shell) => void process.stdout.write(script(shell, wordsOf(program))))
}

/** For every verb path (`` , `bgp`, `bgp peers`) what may follow it. */
function wordsOf(command: Command, path = ''): [string, string[]][] {
  const verbs = command
    .createHelp()
    .visibleCommands(command)
    .filter((child) => child.name() !== 'help')
  const words = [...verbs.map((child) => child.name()), ...command.options.flatMap((option) => option.long ?? [])]
  return [[path, words], ...verbs.flatMap((child) => wordsOf(child, `${path} ${child.name()}`.trim()))]
}

function script(shell: Shell, words: readonly [string, string[]][]): string {
  if (shell === 'fish') {
    const condition = (path: string): string =>
      path === '' ? '__fish_use_subcommand' : `__fish_seen_subcommand_from ${path.split(' ').at(-1) ?? ''}`
    return words
      .map(([path, next]) => `complete -c herald -f -n '${condition(path)}' -a '${next.join(' ')}'\n`)
      .join('')
  }
  const cases = words.map(([path, next]) => `    "${path}") words="${next.join(' ')}" ;;`).join('\n')
  // Only verbs lead on: arguments and the values of flags do not.
  const paths = words.flatMap(([path]) => (path === '' ? [] : `"${path}"`)).join('|')
  const bash = `_herald() {
  local path="" word words=""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "\${path:+$path }$word" in ${paths}) path="\${path:+$path }$word" ;; esac
  done
  case "$path" in
${cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _herald herald
`
  return shell === 'bash' ? bash : `autoload -U +X bashcompinit && bashcompinit\n${bash}`
}
