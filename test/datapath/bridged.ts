/** A CNI whose pods are ports of a bridge, in the place of the rack's, which routes to each. */
import { pods, type Rack } from './rack.ts'

/** `more` are words for ip(8) on the node. */
export function bridgePods(rack: Rack, ...more: readonly (readonly string[])[]): void {
  for (const words of [
    ['-4', 'route', 'flush', 'dev', 'pod0'],
    ['-6', 'route', 'flush', 'dev', 'pod0'],
    ['link', 'add', 'cni0', 'type', 'bridge'],
    ['address', 'flush', 'dev', 'pod0'],
    ['link', 'set', 'pod0', 'master', 'cni0'],
    ['link', 'set', 'cni0', 'up'],
    ['address', 'add', '10.1.0.1/24', 'dev', 'cni0'],
    ['address', 'add', 'fd00:10:1::1/64', 'dev', 'cni0', 'nodad'],
    ...more,
  ])
    rack.run('node', ['ip', ...words])
  rack.run('node', ['ping', '-c', '1', '-i', '0.2', '-w', '5', pods[0]])
}
