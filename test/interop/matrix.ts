/** The interop matrix: a row a scenario, a column a router. */
import { type RouterName, routerNames } from './router-daemon.ts'
import type { Scenario } from './scenario.ts'

export type Cell = 'yes' | 'FAIL' | 'no' | 'not run'

export class Matrix {
  readonly #cells = new Map<string, Cell>()
  readonly #scenarios: readonly Scenario[]

  constructor(scenarios: readonly Scenario[]) {
    this.#scenarios = scenarios
  }

  set(scenario: Scenario, router: RouterName, cell: Cell): void {
    this.#cells.set(`${scenario.row}/${router}`, cell)
  }

  /** The table, and below it why a cell says no. */
  text(): string {
    const width = Math.max(...this.#scenarios.map(({ row }) => row.length))
    const reasons = new Map<string, number>()
    const cellOf = (scenario: Scenario, router: RouterName): string => {
      const why = scenario.lacking?.[router]
      const cell = this.#cells.get(`${scenario.row}/${router}`) ?? 'not run'
      if (why === undefined || cell !== 'no') return cell
      const note = `${router}: ${why}`
      if (!reasons.has(note)) reasons.set(note, reasons.size + 1)
      return `no (${reasons.get(note)})`
    }
    const line = (first: string, cells: readonly string[]): string =>
      `${first.padEnd(width)}  ${cells.map((cell) => cell.padEnd(9)).join(' ')}`.trimEnd()
    const rows = this.#scenarios.map((scenario) =>
      line(
        scenario.row,
        routerNames.map((router) => cellOf(scenario, router)),
      ),
    )
    return [line('', routerNames), ...rows, ...[...reasons].map(([note, number]) => `(${number}) ${note}`)].join('\n')
  }
}
