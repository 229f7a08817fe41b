/** What `herald agent` can be told; the same names in camelCase are the keys of --config. */

export interface AgentOptions {
  readonly nodeName: string
  readonly source:
    | { readonly kind: 'manifests'; readonly directory: string }
    /** Without a kubeconfig by the service account of the pod. */
    | { readonly kind: 'kubernetes'; readonly kubeconfig?: string }
  /** Of the Leases by which the cluster knows that this agent lives, and others where it takes packets in tunnels. */
  readonly leaseNamespace: string
  /** Where the cluster is told to whom this node announces each Service; undefined: nowhere. */
  readonly serviceStatusNamespace?: string
  readonly datapath: 'auto' | 'ebpf' | 'none'
  /** Whether backends on other nodes are served, in tunnels; they are only where the eBPF datapath is. */
  readonly remoteBackends: 'tunnel' | 'none'
  /** Interfaces on which VIP traffic arrives, as a regular expression; by default those that route to a neighbor. */
  readonly interfaces?: string
  /** undefined: no listener, the agent only dials. */
  readonly bgpListen?: { readonly host: string; readonly port: number }
  readonly stateDir: string
  readonly socket: string
  /** undefined: no HTTP port. */
  readonly http?: { readonly host: string; readonly port: number }
  readonly bpffs: string
  readonly attach: 'auto' | 'tcx' | 'clsact'
  /** Sockets on this node are led to backends, where the eBPF datapath is. */
  readonly socketLb: boolean
  /** The group of cgroup v2 whose sockets are led, or where one is mounted below. */
  readonly cgroupRoot: string
  /** A folder of network namespaces in which sockets of backends that are gone are ended, beside this node's own. */
  readonly podNetworks?: string
  /** Also those of TCP. */
  readonly endTcp: boolean
  /** External IPs and node ports are served in the place of kube-proxy, and sockets led. */
  readonly kubeProxyReplacement: boolean
  /** Where node ports are served: addresses of the Node, or what interfaces have of these prefixes. */
  readonly nodeportAddresses: 'primary' | readonly string[]
  /** Whether flows to pods of this node go past netfilter. */
  readonly datapathMode: 'stack' | 'redirect' | 'auto'
  /** Whether a program of XDP is in front of those of TC, and where. */
  readonly lbAcceleration: 'disabled' | 'native' | 'best-effort' | 'generic'
  /** When flow events are read: while somebody looks, or always, so that whoever looks sees what was before. */
  readonly flowEvents: 'observed' | 'always'
  readonly bgpSecretsNamespace: string
  readonly loadBalancerClass?: string
  /** Services without a class are left alone. */
  readonly requireLoadBalancerClass: boolean
  /** The label that excludes a node from load balancers means nothing. */
  readonly ignoreExcludeLb: boolean
  /** What of the Node ends the announcement of Services. */
  readonly withdrawOn: readonly string[]
  /** Metrics also under the names of another announcer. */
  readonly metricAliases: boolean
  /** Where every input and output of the speaker is written. */
  readonly record?: string
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error'
  readonly logFormat: 'json' | 'text'
}
