/**
 * A virtual machine without disk or network, of software alone: a kernel, a file system in memory, a console. Its clock
 * counts instructions, so that whatever else the host does no deadline inside passes sooner, and while it has nothing
 * to do no time passes at all.
 */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Kernel } from './packages.ts'

export const emulator = 'qemu-system-x86_64'

/** Nanoseconds of the machine's clock per instruction, as a power of two. */
const shift = 0

export interface Ended {
  /** All that the console showed. */
  readonly console: string
  readonly seconds: number
}

/** Boots; `arguments_` are those of the first process. `hear` gets each line of the console. Rejects when aborted. */
export function runMachine(
  kernel: Kernel,
  archive: string,
  first: readonly string[],
  hear: (line: string) => void,
  signal: AbortSignal,
): Promise<Ended> {
  const [program = '', ...rest] = first
  const line = [
    'console=ttyS0',
    'loglevel=3',
    'panic=-1',
    'mitigations=off',
    'random.trust_cpu=on',
    `rdinit=${program}`,
  ]
  const child = spawn(
    emulator,
    [
      ...['-machine', 'q35', '-accel', 'tcg', '-cpu', 'max', '-m', '2048', '-icount', `shift=${shift},sleep=off`],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
      ...['-kernel', kernel.image, '-initrd', archive, '-append', [...line, '--', ...rest].join(' ')],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], signal },
  )
  const began = performance.now()
  let shown = ''
  const take = (text: string): void => {
    shown += `${text}\n`
    hear(text)
  }
  createInterface({ input: child.stdout }).on('line', (text) => take(text.replace(/\r$/, '')))
  createInterface({ input: child.stderr }).on('line', take)
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new Error(`${error.message}; the console: ${shown.slice(-4000)}`)))
    child.once('close', () => resolve({ console: shown, seconds: (performance.now() - began) / 1000 }))
  })
}
