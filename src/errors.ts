/**
 * Every error that Herald raises on purpose: a closed union of codes, one table with a hint what to do next.
 * docs/errors.md documents the same codes; test/docs.test.ts compares the two.
 */
export const errorTable = {
  ERR_USAGE: 'Run the command with --help.',
  ERR_AGENT_UNREACHABLE:
    'Start `herald agent` here, or give its socket with --socket; some verbs ask an API server with --cluster.',
  ERR_AGENT_ANSWER:
    'The agent answered, but not with what was asked; its log has the reason. Compare `herald version` with the ' +
    'version in `herald status`.',
  ERR_ALREADY_RUNNING: 'Stop that agent first; another one beside it takes a --state-dir and --bpffs of its own.',
  ERR_MANIFESTS: 'Give --manifests an existing, readable folder of Kubernetes YAML.',
  ERR_ADDRESS_BOOK:
    'Put back a regular file, or remove what lies in its place; no address is given away until it can be used.',
  ERR_KUBECONFIG: 'Try the same with `kubectl --kubeconfig FILE get nodes`; in a pod, look at its service account.',
  ERR_API_SERVER:
    'Try `kubectl get --raw /readyz`, and `kubectl auth can-i --list` for what may be read. What agents have in ' +
    'force stays.',
  ERR_ADDRESS: 'Write an IPv4 or IPv6 address such as 192.0.2.1 or 2001:db8::1.',
  ERR_BGP_LISTEN: 'Free the port or choose another with --bgp-listen; the agent goes on dialling its peers.',
  ERR_HTTP: 'Free the port, or choose another with --http, or none.',
  ERR_BUSY: 'Ask again in a moment: as many questions as may wait do so already.',
  ERR_EXPIRED: 'Ask again from the beginning: the place to go on from is not kept any more.',
  ERR_OUTPUT: 'Free space where standard output goes; what was printed is not whole, a command was given all the same.',
  ERR_NO_NEIGHBOR:
    'See `herald bgp peers` for the neighbors of this node, or `herald explain peer ADDRESS` for why not.',
  ERR_SPEAKER_EXITED: 'Look at the log line before this one; the process ends so that the supervisor restarts it.',
  ERR_SYSCALL: 'See the errno that the message names; docs/operate.md lists the privileges that the agent needs.',
  ERR_LIBBPF_MISSING: 'Install libbpf.so.1 (Debian and Ubuntu: apt-get install libbpf1), or run with --datapath none.',
  ERR_BPF_REFUSED:
    'Let the pod have agent.securityContext.seccompProfile.type=Unconfined: the profile of CRI-O, and those of other ' +
    'container runtimes before 2023, keep bpf(2) from whoever has CAP_BPF without SYS_ADMIN.',
  ERR_CONFINED:
    'Give the pod a place where it may write (the chart has the bpf file system at /run/bpffs, since AppArmor lets ' +
    'nobody write below /sys), or another profile: agent.securityContext.appArmorProfile.type=Unconfined, ' +
    'seLinuxOptions.type=spc_t.',
  ERR_BPF_OBJECT_MISSING: 'Build the kernel programs with `npm run bpf` (needs clang and libbpf-dev).',
  ERR_BPF_LOAD: 'The kernel must be 5.10 or later; what the verifier said stands whole in the log.',
  ERR_FILE_LIMIT:
    'Raise the limit of open files (`ulimit -n`, LimitNOFILE= of a unit): an agent holds some 200, and more for many ' +
    'sessions and observers.',
  ERR_ATTACH:
    'Remove or move what the message names (`tc filter show`, `bpftool net`), or leave the interface out with ' +
    '--interfaces; it is tried again.',
  ERR_NO_EVENTS: 'Flow events come from the eBPF datapath: see the line Datapath in `herald status`.',
  ERR_BPFFS: 'Mount bpffs: mount -t bpf bpf /sys/fs/bpf, or name another mount with --bpffs.',
  ERR_CGROUP:
    'Mount cgroup v2 (mount -t cgroup2 none DIR) and name it with --cgroup-root; in a pod, mount the /sys/fs/cgroup ' +
    'of the host.',
  ERR_MAP_FULL:
    'Maps grow by themselves, up to a fiftieth of the memory each, that of tables to a sixteenth: remove Services, ' +
    'ports or pods, or give the node more memory. What is programmed keeps being served.',
  ERR_READ_BACK: 'The kernel map does not hold what was written; the Service stays unannounced and is retried.',
  ERR_RECORDING: 'Give `herald replay` a file that `herald agent --record FILE` of the same version wrote.',
  ERR_LAB: 'See the step that failed; `npm run lab -- --check` prints the evidence it looked at.',
} as const

export type ErrorCode = keyof typeof errorTable

/** An errno by its name in asm-generic/errno.h. */
export type Errno = `E${Uppercase<string>}`

/** An error with a code from {@link errorTable}; `hint` says what to do next. */
export class HeraldError extends Error {
  readonly code: ErrorCode
  readonly hint: string
  /** Of the system call that failed, where one did. */
  readonly errno?: Errno
  /** Of many that were to be written: so many were, before the one that failed. */
  readonly written?: number

  constructor(
    code: ErrorCode,
    message: string,
    options: ErrorOptions & { readonly errno?: Errno; readonly written?: number } = {},
  ) {
    super(message, options)
    this.name = 'HeraldError'
    this.code = code
    this.hint = errorTable[code]
    if (options.errno !== undefined) this.errno = options.errno
    if (options.written !== undefined) this.written = options.written
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
