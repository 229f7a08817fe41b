/**
 * Credentials that a program prints, which a kubeconfig names (client.authentication.k8s.io): run as kubectl runs it,
 * but for nobody who could be asked, and not for ever.
 *
 *     nothing that is good --run--> ExecCredential --until it expires, or is refused--> the same again
 */
import { spawn } from 'node:child_process'
import { dirname, resolve } from 'node:path'
import { deadline } from '../../clock/deadline.ts'
import { systemClock } from '../../clock/system-clock.ts'
import { HeraldError, messageOf } from '../../errors.ts'
import { type RawObject, recordOf, textOf } from '../source.ts'

/** A plugin that asks a person for a password never ends by itself. */
const deadlineMs = 60_000
/** Of what it prints, and of what of its complaints is repeated. */
const maxOutput = 1024 * 1024
const maxComplaint = 500

/** `token`, or a certificate with its key; or both. */
export interface PluginCredentials {
  readonly token?: string
  readonly certificate?: string
  readonly key?: string
}

interface Good {
  readonly credentials: PluginCredentials
  /** ms since the epoch; Infinity: until it is refused. */
  readonly untilMs: number
}

export class ExecPlugin {
  readonly #kubeconfig: string
  readonly #command: string
  readonly #args: readonly string[]
  readonly #env: NodeJS.ProcessEnv
  readonly #deadlineMs: number
  #good: Good | undefined

  /**
   * `spec`: the field `exec` of a user; `aboutServer`: what it is told, where the kubeconfig wants that. Throws
   * ERR_KUBECONFIG where it cannot be run.
   */
  constructor(spec: RawObject, kubeconfig: string, aboutServer: () => RawObject, endsWithinMs = deadlineMs) {
    const { command, args, env, apiVersion, interactiveMode, provideClusterInfo } = spec
    this.#kubeconfig = kubeconfig
    const name = textOf(command)
    if (name === '') throw failure(kubeconfig, 'exec has no command')
    if (interactiveMode === 'Always')
      throw failure(kubeconfig, `exec: ${name} wants to ask a person (interactiveMode Always), and nobody is there`)
    // As kubectl has it: a path is relative to the kubeconfig, a name is looked for in PATH.
    this.#command = name.includes('/') ? resolve(dirname(kubeconfig), name) : name
    this.#args = listOf(args).map(String)
    const own = listOf(env)
      .map(recordOf)
      .map((each) => [textOf(each['name']), textOf(each['value'])])
    const cluster = provideClusterInfo === true ? { cluster: aboutServer() } : {}
    const info = { apiVersion, kind: 'ExecCredential', spec: { interactive: false, ...cluster } }
    this.#env = { ...process.env, ...Object.fromEntries(own), KUBERNETES_EXEC_INFO: JSON.stringify(info) }
    this.#deadlineMs = endsWithinMs
  }

  /** Rejects with ERR_KUBECONFIG. */
  async credentials(): Promise<PluginCredentials> {
    if (this.#good === undefined || this.#good.untilMs <= Date.now())
      this.#good = goodIn(await this.#run(), this.#kubeconfig)
    return this.#good.credentials
  }

  /** What it printed last was refused: it is run again. */
  forget(): void {
    this.#good = undefined
  }

  #run(): Promise<string> {
    return new Promise((resolve, reject) => {
      // A group of its own: what it has started in its turn ends with it, and no terminal is there to ask on.
      const child = spawn(this.#command, this.#args, {
        env: this.#env,
        stdio: ['ignore', 'pipe', 'pipe'],
        detached: true,
      })
      const printed = { out: '', err: '' }
      const end = (settle: () => void): void => {
        late.cancel()
        settle()
      }
      const fail = (why: string): void => end(() => reject(failure(this.#kubeconfig, `${this.#command} ${why}`)))
      // What one that ends by itself leaves behind is its own affair.
      const kill = (why: string): void => {
        killGroup(child.pid)
        fail(why)
      }
      const late = deadline(systemClock, this.#deadlineMs, () =>
        kill(`has not ended within ${this.#deadlineMs / 1000} s: it must not ask anybody`),
      )
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        printed.out += text
        if (printed.out.length > maxOutput) kill('prints without an end')
      })
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        printed.err = (printed.err + text).slice(0, maxComplaint)
      })
      child.on('error', (error) => fail(`cannot be run: ${messageOf(error)}`))
      child.on('close', (code, signal) => {
        const said = printed.err.trim()
        if (code === 0) end(() => resolve(printed.out))
        else fail(`ends with ${signal ?? code}${said === '' ? '' : `: ${said}`}`)
      })
    })
  }
}

/** Whatever is left of it. */
function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // All of it has ended.
  }
}

function goodIn(text: string, kubeconfig: string): Good {
  let answer: RawObject
  try {
    answer = recordOf(JSON.parse(text))
  } catch {
    // What it printed may be a key: it is not repeated.
    throw failure(kubeconfig, 'the plugin prints no JSON')
  }
  const status = recordOf(answer['status'])
  const [token, certificate, key] = ['token', 'clientCertificateData', 'clientKeyData'].map((name) =>
    textOf(status[name]),
  )
  if (/[^\x21-\x7e]/.test(token ?? '')) throw failure(kubeconfig, 'the plugin prints a token that is none')
  if (!token && !(certificate && key))
    throw failure(kubeconfig, 'the plugin prints neither a token nor a certificate with its key')
  const untilMs = Date.parse(textOf(status['expirationTimestamp']))
  return {
    credentials: { ...(token ? { token } : {}), ...(certificate && key ? { certificate, key } : {}) },
    untilMs: Number.isNaN(untilMs) ? Number.POSITIVE_INFINITY : untilMs,
  }
}

function failure(kubeconfig: string, why: string): HeraldError {
  return new HeraldError('ERR_KUBECONFIG', `${kubeconfig}: ${why}`)
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
