/**
 * A pod of the chart as a container runtime runs it: its one container in runc, with the mounts, capabilities, user
 * and system calls that a kubelet asks for. Paths of the node lie below a folder; its network is a namespace.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

interface Variable {
  readonly name: string
  readonly value?: string
  readonly valueFrom?: { readonly fieldRef: { readonly fieldPath: string } }
}
interface SecurityContext {
  readonly runAsUser?: number
  readonly runAsGroup?: number
  readonly fsGroup?: number
  readonly allowPrivilegeEscalation?: boolean
  readonly readOnlyRootFilesystem?: boolean
  readonly capabilities?: { readonly add?: readonly string[] }
  readonly seccompProfile?: { readonly type: string }
}
export interface PodSpec {
  readonly securityContext?: SecurityContext
  readonly containers: readonly {
    readonly args: readonly string[]
    readonly env: readonly Variable[]
    readonly securityContext: SecurityContext
    readonly volumeMounts?: readonly {
      readonly name: string
      readonly mountPath: string
      readonly mountPropagation?: string
      readonly readOnly?: boolean
    }[]
  }[]
  readonly volumes?: readonly { readonly name: string; readonly hostPath?: { readonly path: string } }[]
}

export interface Place {
  /** For what is of this pod alone, gone with it. */
  readonly folder: string
  /** Paths of the node are below this one. */
  readonly node: string
  /** Root of the image, and what it runs. */
  readonly image: string
  readonly entrypoint: readonly string[]
  readonly network: string
  readonly fields: Readonly<Record<string, string>>
  /** In the cluster, as a kubelet says it. */
  readonly server: { readonly host: string; readonly port: string }
  readonly token: string
  readonly authority: string
  /** Whether RuntimeDefault lets bpf(2) through to who has CAP_BPF: containerd does, CRI-O asks for SYS_ADMIN. */
  readonly runtime: 'containerd' | 'cri-o'
  /** The profile of AppArmor that a runtime gives every pod; by default none. */
  readonly profile?: string
  /** Its root is that of a file system in memory, which cannot be put aside (pivot_root(2)). */
  readonly isInMemory?: boolean
}

/** What the default profiles of container runtimes refuse to who has no more capabilities than the chart gives. */
const refused = [
  ...['acct', 'add_key', 'chroot', 'clock_adjtime', 'clock_settime', 'delete_module', 'fanotify_init', 'finit_module'],
  ...['fsconfig', 'fsmount', 'fsopen', 'fspick', 'init_module', 'io_uring_enter', 'io_uring_register'],
  ...['io_uring_setup', 'ioperm', 'iopl', 'kcmp', 'kexec_file_load', 'kexec_load', 'keyctl', 'lookup_dcookie', 'mount'],
  ...['mount_setattr', 'move_mount', 'move_pages', 'name_to_handle_at', 'open_by_handle_at', 'open_tree', 'pivot_root'],
  ...['process_vm_readv', 'process_vm_writev', 'ptrace', 'quotactl', 'reboot', 'request_key', 'sethostname', 'setns'],
  ...['settimeofday', 'swapoff', 'swapon', 'umount2', 'unshare', 'userfaultfd', 'vhangup'],
]

/** RuntimeDefault. */
function systemCalls(capabilities: readonly string[], runtime: Place['runtime']): object {
  const isLet = runtime === 'containerd' && capabilities.includes('CAP_BPF')
  const names = isLet ? refused : [...refused, 'bpf']
  return { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names, action: 'SCMP_ACT_ERRNO', errnoRet: 1 }] }
}

/** Why no pod can run here. */
export function whyNoPods(): string | undefined {
  return spawnSync('runc', ['--version']).status === 0 ? undefined : 'no runc here'
}

const account = '/var/run/secrets/kubernetes.io/serviceaccount'
const masked = ['acpi', 'kcore', 'keys', 'latency_stats', 'timer_list', 'sched_debug', 'scsi'].map((n) => `/proc/${n}`)
const readOnly = ['bus', 'fs', 'irq', 'sys', 'sysrq-trigger'].map((name) => `/proc/${name}`)

/** What the runtime mounts by itself. */
const usualMounts = [
  { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
  {
    destination: '/dev',
    type: 'tmpfs',
    source: 'tmpfs',
    options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
  },
  { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: ['nosuid', 'noexec', 'nodev', 'size=65536k'] },
  { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
]

/** Writes what a kubelet makes for the pod, and answers the runtime's configuration. */
function configurationOf(pod: PodSpec, place: Place): object {
  const [container] = pod.containers
  if (container === undefined) throw new Error('a pod without a container')
  const context = { ...pod.securityContext, ...container.securityContext }
  const capabilities = (context.capabilities?.add ?? []).map((name) => `CAP_${name}`)
  const own = (name: string): string => join(place.folder, name)
  const bind = (source: string, destination: string, ...options: string[]): object => {
    return { destination, type: 'bind', source, options: ['rbind', ...options] }
  }
  mkdirSync(own('account'), { recursive: true })
  for (const [name, text] of [
    ['token', place.token],
    ['ca.crt', place.authority],
    ['namespace', place.fields['metadata.namespace'] ?? ''],
  ] as const)
    writeFileSync(own(`account/${name}`), text)
  const volumes = (container.volumeMounts ?? []).map(({ name, mountPath, mountPropagation, readOnly: isReadOnly }) => {
    const path = pod.volumes?.find((volume) => volume.name === name)?.hostPath?.path
    const source = path === undefined ? own(name) : join(place.node, path)
    mkdirSync(source, { recursive: true })
    const propagation = mountPropagation === 'HostToContainer' ? 'rslave' : 'rprivate'
    return bind(source, mountPath, propagation, isReadOnly === true ? 'ro' : 'rw')
  })
  const env = container.env.map(
    ({ name, value, valueFrom }) => `${name}=${value ?? place.fields[valueFrom?.fieldRef.fieldPath ?? ''] ?? ''}`,
  )
  const services = [`KUBERNETES_SERVICE_HOST=${place.server.host}`, `KUBERNETES_SERVICE_PORT=${place.server.port}`]
  return {
    ociVersion: '1.0.2',
    process: {
      user: { uid: context.runAsUser ?? 0, gid: context.runAsGroup ?? 0, additionalGids: [context.fsGroup ?? 0] },
      args: [...place.entrypoint, ...container.args],
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', ...services, ...env],
      cwd: '/',
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      noNewPrivileges: context.allowPrivilegeEscalation === false,
      ...(place.profile === undefined ? {} : { apparmorProfile: place.profile }),
    },
    root: { path: place.image, readonly: context.readOnlyRootFilesystem === true },
    hostname: place.fields['spec.nodeName'],
    mounts: [...usualMounts, bind(own('account'), account, 'ro'), ...volumes],
    linux: {
      namespaces: [
        ...['pid', 'ipc', 'uts', 'mount'].map((type) => ({ type })),
        { type: 'network', path: place.network },
      ],
      maskedPaths: masked,
      readonlyPaths: readOnly,
      ...(context.seccompProfile?.type === 'RuntimeDefault'
        ? { seccomp: systemCalls(capabilities, place.runtime) }
        : {}),
    },
  }
}

export interface Said {
  readonly code: number
  readonly output: string
}

export class Pod {
  readonly #child: ChildProcess
  readonly #name: string
  readonly #folder: string
  output = ''

  constructor(spec: PodSpec, place: Place) {
    this.#folder = place.folder
    this.#name = `herald-${process.pid}-${place.folder.split('/').at(-1)}`
    mkdirSync(place.folder, { recursive: true })
    writeFileSync(join(place.folder, 'config.json'), JSON.stringify(configurationOf(spec, place)))
    const how = place.isInMemory === true ? ['--no-pivot'] : []
    this.#child = spawn('runc', [...this.#flags, 'run', ...how, '--bundle', place.folder, this.#name], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text
      })
  }

  get #flags(): readonly string[] {
    return ['--root', join(this.#folder, 'runc')]
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  /** As `kubectl exec` does. */
  exec(...args: readonly string[]): Promise<Said> {
    return new Promise((resolve) => {
      execFile('runc', [...this.#flags, 'exec', this.#name, ...args], (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
      )
    })
  }

  /** Answers the exit code. */
  async end(signal: 'TERM' | 'KILL' = 'TERM'): Promise<number | null> {
    if (this.hasEnded) return this.#child.exitCode
    const ended = once(this.#child, 'close')
    await new Promise((resolve) => execFile('runc', [...this.#flags, 'kill', this.#name, signal], resolve))
    await ended
    return this.#child.exitCode
  }
}
