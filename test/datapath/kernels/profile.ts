/** The profile of AppArmor that container runtimes load, and where a machine has what is run under it. */

export const confined = {
  /** As containerd calls it. */
  name: 'cri-containerd.apparmor.d',
  folder: '/confined',
  /** Of the image. */
  nodeProgram: '/usr/local/bin/node',
} as const

/**
 * By the facts of the template that containerd, CRI-O and Docker share: everything but mounts, writing below /proc and
 * below /sys except to groups, and what shows the memory of the node.
 */
export const profileText = `
profile ${confined.name} flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,
  signal (receive) peer=unconfined,
  signal (send,receive) peer=${confined.name},
  ptrace (trace,read,tracedby,readby) peer=${confined.name},

  deny mount,
  deny /proc/* w,
  deny /proc/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9]*}/** w,
  deny /proc/sys/[^k]** w,
  deny /proc/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,

  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
`

/** What the agent of the pod reads, in place of an API server. */
export const manifests = `
apiVersion: v1
kind: Node
metadata: {name: node1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ports: [{port: 80}]}
---
apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata: {name: rack}
spec:
  nodeSelector: {}
  virtualRouters:
  - {localASN: 65001, serviceSelector: {}, neighbors: [{peerAddress: 192.0.2.2/32, peerASN: 65000}]}
`
