/** `npm run rfc`: writes docs/rfc.md from the mentions of RFC clauses in code and tests. */
import { writeFileSync } from 'node:fs'
import { findAll, page } from '../test/rfc/page.ts'
import { takeNoArguments } from './setup/arguments.ts'

takeNoArguments('npm run rfc')

const all = findAll()
writeFileSync(new URL('../docs/rfc.md', import.meta.url), page(all))
const open = all.filter(({ files, tests }) => files.length === 0 || tests.length === 0)
for (const { rfc, clause, files, tests } of open) {
  const lacks = [...(files.length === 0 ? ['no code'] : []), ...(tests.length === 0 ? ['no test'] : [])]
  console.log(`RFC ${rfc} ${clause}: ${lacks.join(', ')}`)
}
console.log(`${all.length} clauses, ${open.length} open`)
process.exitCode = open.length === 0 ? 0 : 1
