/** `herald completion bash|zsh|fish`: made from the verbs themselves. */
import { type Command, InvalidArgumentError } from 'commander'

const shells = ['bash', 'zsh', 'fish', 'kubectl'] as const
type Shell = (typeof shells)[number]

export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a completion script; kubectl: what may stand in place of the last of the words')
    .argument('<shell>', shells.join(', '), (shell: string) => {
      if (!shells.some((known) => known === shell)) throw new InvalidArgumentError(`Allowed: ${shells.join(', ')}.`)
      return shell
    })
    .argument('[words...]', 'for kubectl, after --: what is typed so far')
    .action((shell: Shell, words: readonly string[]) => {
      const verbs = wordsOf(program)
      process.stdout.write(shell === 'kubectl' ? candidates(verbs, words) : script(shell, verbs))
    })
}

/** As kubectl asks its plugins (`kubectl_complete-herald`): a line for each, then whether files may follow. */
function candidates(verbs: readonly Verb[], words: readonly string[]): string {
  const typed = words.at(-1) ?? ''
  let at = verbs.find(({ path }) => path === '')
  for (const word of words.slice(0, -1))
    at = verbs.find(({ path }) => path === `${at?.path ?? ''} ${word}`.trim()) ?? at
  const fitting = (at?.words ?? []).filter((word) => word.startsWith(typed))
  return `${fitting.map((word) => `${word}\n`).join('')}:${at?.takesFiles === true ? 0 : 4}\n`
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

function script(shell: Exclude<Shell, 'kubectl'>, verbs: readonly Verb[]): string {
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
