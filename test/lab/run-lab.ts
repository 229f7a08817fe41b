/** `npm run lab` in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

interface Ended {
  readonly code: number | null
  readonly output: string
}

/** Runs the lab as a user does; `onOutput` sees all that was printed so far. */
export async function runLab(
  args: readonly string[],
  context: TestContext,
  onOutput?: (output: string, child: ChildProcess) => void,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Ended> {
  const child = spawn(process.execPath, [join(root, 'scripts/lab.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
  })
  context.signal.addEventListener('abort', () => child.kill('SIGTERM'))
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    onOutput?.(output, child)
  })
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, output }
}
