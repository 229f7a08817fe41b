/** One connection that requests follow each other on while something is done to the rack. */
import type { Rack } from './rack.ts'

export interface Flow {
  readonly requests: number
  readonly failed: number
  readonly connections: number
  readonly pods: readonly string[]
}

/** One kept TCP connection from the client; `last` is its newest count. */
export function startFlow(rack: Rack, url: string): { last(): Flow | undefined; stop(): void } {
  const child = rack.lab.node('client').start(['node', '/run/client.mjs', 'flow', url])
  let last: Flow | undefined
  let partial = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    const lines = (partial + text).split('\n')
    partial = lines.pop() ?? ''
    const newest = lines.at(-1)
    if (newest !== undefined) last = JSON.parse(newest) as Flow
  })
  return { last: () => last, stop: () => void child.kill('SIGTERM') }
}
