/** The log as the operator uses it; in memory for tests. */
export interface OperatorLog {
  info(fields: object, text: string): void
  warn(fields: object, text: string): void
  error(fields: object, text: string): void
}

/** Keeps every line as `level text {fields}`. */
export class MemoryOperatorLog implements OperatorLog {
  readonly lines: string[] = []

  info(fields: object, text: string): void {
    this.lines.push(`info ${text} ${JSON.stringify(fields)}`)
  }

  warn(fields: object, text: string): void {
    this.lines.push(`warn ${text} ${JSON.stringify(fields)}`)
  }

  error(fields: object, text: string): void {
    this.lines.push(`error ${text} ${JSON.stringify(fields)}`)
  }
}

/** What came of a write. */
export const notWritten = {
  refused: 'the API server refuses a write; it is tried again',
  failed: 'a write had no answer; it is tried again',
  owned: 'a status belongs to somebody else and is left alone',
} as const
