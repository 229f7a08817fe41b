/** docs/rfc.md, made from the clauses and from what code and tests mention. To write it: npm run rfc. */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Clause, clauses, titles } from './clauses.ts'

const root = new URL('../../', import.meta.url)

export interface Found extends Clause {
  readonly files: readonly string[]
  readonly tests: readonly { readonly file: string; readonly title: string }[]
}

/** `RFC 7606 7.4, 7.5 and 7.9` is three mentions; `RFC 2385` one of the whole. */
export function mentions(text: string): readonly string[] {
  return [...text.matchAll(/RFC (\d{4})((?:(?:,| and)? (?!\d{4}\b)\d+(?:\.\d+)*(?: [a-j]\b)?)*)/g)].flatMap(
    ([, rfc, list = '']) => {
      const found = [...list.matchAll(/\d+(?:\.\d+)*(?: [a-j]\b)?/g)].map(([clause]) => `${rfc} ${clause}`)
      return [...found, `${rfc} `]
    },
  )
}

function filesBelow(folder: string): readonly string[] {
  return readdirSync(fileURLToPath(new URL(folder, root)), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `${folder}/${name}`)
    .sort()
}

/** With the lines of one comment, and the parts of one string, in one piece. */
const read = (path: string): string =>
  readFileSync(new URL(path, root), 'utf8')
    .replace(/(['`]) \+\s+\1/g, '')
    .replace(/\n\s*(?:\*|\/\/) /g, ' ')

/** Titles of tests and scenarios: strings that mention an RFC. Templates keep their holes as `…`. */
function titlesOf(text: string): readonly string[] {
  return [...text.matchAll(/'((?:[^'\\\n]|\\.)*RFC \d{4}(?:[^'\\\n]|\\.)*)'|["`]([^"`\n]*RFC \d{4}[^"`\n]*)["`]/g)].map(
    ([, quoted, template]) => (quoted ?? template ?? '').replace(/\$\{[^}]*\}/g, '…').replaceAll("\\'", "'"),
  )
}

export function findAll(): readonly Found[] {
  const sources = filesBelow('src').map((path) => ({ path, found: new Set(mentions(read(path))) }))
  const tests = filesBelow('test')
    .filter((path) => !path.startsWith('test/rfc/'))
    .flatMap((file) => titlesOf(read(file)).map((title) => ({ file, title, found: new Set(mentions(title)) })))
  return clauses.map((clause) => {
    const key = `${clause.rfc} ${clause.clause}`
    return {
      ...clause,
      files: sources.filter(({ found }) => found.has(key)).map(({ path }) => path),
      tests: tests.filter(({ found }) => found.has(key)).map(({ file, title }) => ({ file, title })),
    }
  })
}

/** More than these of one row are counted, not listed. */
const shownTests = 3

export function page(all: readonly Found[]): string {
  const covered = all.filter(({ files, tests }) => files.length > 0 && tests.length > 0).length
  const numbers = [...new Set(all.map(({ rfc }) => rfc))].sort((a, b) => a - b)
  const sections = numbers.map(
    (rfc) =>
      `## RFC ${rfc}: ${titles[rfc] ?? ''}\n\n| clause | what | code | tests |\n|---|---|---|---|\n${all
        .filter((row) => row.rfc === rfc)
        .map(line)
        .join('\n')}\n`,
  )
  return `# RFCs

What the RFCs ask of a node speaker, clause by clause, where it is done and which tests show it. Made by \`npm run rfc\` from the mentions in code and tests; \`npm test\` fails when a clause has no code or no test, or when this page is out of date.

${all.length} clauses of ${numbers.length} RFCs, ${covered} with code and tests.

${sections.join('\n')}`
}

function line({ clause, what, files, tests }: Found): string {
  const code = files.map((path) => `[${path.replace(/^src\//, '')}](../${path})`).join(', ')
  const shown = tests
    .slice(0, shownTests)
    .map(({ file, title }) => `${title.replaceAll('|', '\\|')} ([${file.replace(/^test\//, '')}](../${file}))`)
  const more = tests.length > shownTests ? [`and ${tests.length - shownTests} more`] : []
  return `| ${clause === '' ? 'all' : clause} | ${what} | ${code} | ${[...shown, ...more].join('<br>')} |`
}
