/** `herald completion bash|zsh|fish`: made from the verbs themselves. */
import { Argument, type Command } from 'commander'

const shells = ['bash', 'zsh', 'fish', 'kubectl'] as const
type Shell = (typeof shells)[number]

export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a completion script; kubectl: what may stand in place of the last word')
    .addArgument(new Argument('<shell>', 'whose script it is').choices(shells))
    .argument('[words...]', 'for kubectl, after --: the words that are typed so far')
    .action((shell: Shell, words: readonly string[]) => {
      const verbs = verbsOf(program)
      process.stdout.write(shell === 'kubectl' ? candidates(verbs, words) : script(shell, verbs))
    })
}

/** As kubectl asks its plugins (`kubectl_complete-herald`): a line for each, then whether files may follow. */
function candidates(verbs: readonly Verb[], words: readonly string[]): string {
  const typed = words.at(-1) ?? ''
  const before = words.slice(0, -1)
  const previous = before.at(-1) ?? ''
  let at = verbs.find(({ path }) => path === '')
  for (const word of before) at = verbs.find(({ path }) => path === `${at?.path ?? ''} ${word}`.trim()) ?? at
  const value = at?.values.find(({ flags }) => flags.includes(previous))
  const isFirst = previous !== '' && at?.path.split(' ').at(-1) === previous
  const all = value?.choices ?? [...(isFirst ? (at?.first ?? []) : []), ...(at?.words ?? [])]
  const takesFiles = value === undefined ? at?.takesFiles === true : value.choices.length === 0
  const fitting = all.filter((word) => word.startsWith(typed))
  return `${fitting.map((word) => `${word}\n`).join('')}:${takesFiles ? 0 : 4}\n`
}

interface Verb {
  /** ``, `bgp`, `bgp peers`. */
  readonly path: string
  /** What may follow: verbs below it and flags. */
  readonly words: readonly string[]
  readonly verbs: readonly string[]
  /** What its first argument may be, where that is a closed set. */
  readonly first: readonly string[]
  /** Flags with a value; without choices it may be a file. */
  readonly values: readonly { readonly flags: readonly string[]; readonly choices: readonly string[] }[]
  readonly takesFiles: boolean
}

function verbsOf(command: Command, path = ''): readonly Verb[] {
  const below = command
    .createHelp()
    .visibleCommands(command)
    .filter((child) => child.name() !== 'help')
  const names = below.map((child) => child.name())
  const values = command.options
    .filter(({ required, optional }) => required || optional)
    .map(({ short, long, argChoices }) => ({
      flags: [long, short].flatMap((flag) => flag ?? []),
      choices: argChoices ?? [],
    }))
  const own: Verb = {
    path,
    words: [...names, ...command.options.flatMap((option) => option.long ?? [])],
    verbs: names,
    first: command.registeredArguments[0]?.argChoices ?? [],
    values,
    takesFiles: command.registeredArguments.some((argument) => argument.name() === 'file'),
  }
  return [own, ...below.flatMap((child) => verbsOf(child, `${path} ${child.name()}`.trim()))]
}

/** True after this verb and before any of those below it. */
function fishCondition({ path, verbs }: Verb): string {
  if (path === '') return '__fish_use_subcommand'
  const seen = path.split(' ').map((verb) => `__fish_seen_subcommand_from ${verb}`)
  return [...seen, ...(verbs.length === 0 ? [] : [`not __fish_seen_subcommand_from ${verbs.join(' ')}`])].join('; and ')
}

function fishScript(verbs: readonly Verb[]): string {
  return verbs
    .flatMap((verb) => {
      const line = (condition: string, words: readonly string[]): string =>
        `complete -c herald${verb.takesFiles ? '' : ' -f'} -n '${condition}' -a '${words.join(' ')}'\n`
      const condition = fishCondition(verb)
      if (verb.first.length === 0) return [line(condition, verb.words)]
      const isFirst = `${condition}; and not __fish_seen_subcommand_from ${verb.first.join(' ')}`
      return [line(condition, verb.words), line(isFirst, verb.first)]
    })
    .join('')
}

function bashScript(verbs: readonly Verb[]): string {
  const cases = verbs
    .map(({ path, words, first }) => `    "${path}") words="${words.join(' ')}"; first="${first.join(' ')}" ;;`)
    .join('\n')
  const values = verbs.flatMap(({ path, values: all }) =>
    all.map(({ flags, choices }) => ({ places: flags.map((flag) => `"${path}:${flag}"`), choices })),
  )
  const closed = values.filter(({ choices }) => choices.length > 0)
  const open = values.filter(({ choices }) => choices.length === 0).flatMap(({ places }) => places)
  const valueCases = closed.map(({ places, choices }) => `    ${places.join('|')}) words="${choices.join(' ')}" ;;`)
  // Only verbs lead on: arguments and the values of flags do not.
  const paths = verbs.flatMap(({ path }) => (path === '' ? [] : `"${path}"`)).join('|')
  return `_herald() {
  local path="" word words="" first="" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  for word in "\${COMP_WORDS[@]:1:$((COMP_CWORD - 1))}"; do
    case "\${path:+$path }$word" in ${paths}) path="\${path:+$path }$word" ;; esac
  done
  case "$path" in
${cases}
  esac
  if [ "$previous" = "\${path##* }" ]; then words="$first $words"; fi
  case "$path:$previous" in
${valueCases.join('\n')}
    ${open.join('|')}) words="" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _herald herald
`
}

function script(shell: Exclude<Shell, 'kubectl'>, verbs: readonly Verb[]): string {
  if (shell === 'fish') return fishScript(verbs)
  return shell === 'bash' ? bashScript(verbs) : `autoload -U +X bashcompinit && bashcompinit\n${bashScript(verbs)}`
}
