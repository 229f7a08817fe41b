/** The log as the agent's loop uses it; in memory for tests and simulations. */

type Level = 'debug' | 'info' | 'warn' | 'error'

export interface AgentLog {
  debug(fields: object, text: string): void
  info(fields: object, text: string): void
  warn(fields: object, text: string): void
  error(fields: object, text: string): void
  isLevelEnabled(level: Level): boolean
}

/** Keeps every line as `level text`. */
export class MemoryLog implements AgentLog {
  readonly lines: string[] = []

  debug(_fields: object, text: string): void {
    this.lines.push(`debug ${text}`)
  }

  info(_fields: object, text: string): void {
    this.lines.push(`info ${text}`)
  }

  warn(_fields: object, text: string): void {
    this.lines.push(`warn ${text}`)
  }

  error(_fields: object, text: string): void {
    this.lines.push(`error ${text}`)
  }

  isLevelEnabled(): boolean {
    return true
  }
}
