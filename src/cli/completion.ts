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

interface Verb {
  /** ``, `bgp`, `bgp peers`. */
  readonly path: string
  /** What may follow. */
  readonly words: readonly string[]
  readonly verbs: readonly string[]
  readonly takesFiles: boolean
}

function wordsOf(command: Command, path = ''): readonly Verb[] {
  const verbs = command
    .createHelp()
    .visibleCommands(command)
    .filter((child) => child.name() !== 'help')
  const names = verbs.map((child) => child.name())
  const takesFiles = command.registeredArguments.some((argument) => argument.name() === 'file')
  return [
    { path, words: [...names, ...command.options.flatMap((option) => option.long ?? [])], verbs: names, takesFiles },
    ...verbs.flatMap((child) => wordsOf(child, `${path} ${child.name()}`.trim())),
  ]
}

/** True after this verb and before any of those below it. */
function fishCondition({ path, verbs }: Verb): string {
  if (path === '') return '__fish_use_subcommand'
  const seen = path.split(' ').map((verb) => `__fish_seen_subcommand_from ${verb}`)
  return [...seen, ...(verbs.length === 0 ? [] : [`not __fish_seen_subcommand_from ${verbs.join(' ')}`])].join('; and ')
}

function script(shell: Shell, verbs: readonly Verb[]): string {
  if (shell === 'fish')
    return verbs
      .map((verb) => {
        const files = verb.takesFiles ? '' : ' -f'
        return `complete -c herald${files} -n '${fishCondition(verb)}' -a '${verb.words.join(' ')}'\n`
      })
      .join('')
  const cases = verbs.map(({ path, words }) => `    "${path}") words="${words.join(' ')}" ;;`).join('\n')
  // Only verbs lead on: arguments and the values of flags do not.
  const paths = verbs.flatMap(({ path }) => (path === '' ? [] : `"${path}"`)).join('|')
  const bash = `_herald() {
  local path="" word words=""
  for word in "\${COMP_WORDS[@]:1:$((COMP_CWORD - 1))}"; do
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
