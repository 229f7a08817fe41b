/** What `status` says of the place of kube-proxy. */
import * as z from 'zod'

export const kubeProxySchema = z
  .object({
    isReplaced: z.boolean().describe('Whether this node serves external IPs and node ports in its place now'),
    reason: z.string().optional().describe('Why not'),
    rules: z
      .enum(['nftables', 'iptables', 'ipvs', 'unknown', 'absent'])
      .describe('Which rules of kube-proxy are there; unknown: the old iptables has rules'),
    nodePortAddresses: z.array(z.string()).describe('Where node ports are served'),
    fromOutside: z
      .object({
        clusterIP: z.literal('advertised').describe('Where an advertisement asks for it'),
        externalIP: z.boolean().describe('External IPs'),
        nodePort: z.boolean().describe('Node ports'),
        loadBalancerIP: z.literal('own').describe('Addresses of the classes that this load balancer serves'),
        healthCheckNodePort: z.boolean().describe('healthCheckNodePort, and 10256 as of kube-proxy'),
      })
      .describe('Of what arrives at the node'),
    fromInside: z
      .object({
        clusterIP: z.boolean().describe('Cluster IPs'),
        externalIP: z.boolean().describe('External IPs'),
        nodePort: z.boolean().describe('Node ports at addresses of the node, not at 127.0.0.1'),
        loadBalancerIP: z.boolean().describe('Addresses that this node serves'),
      })
      .describe('Of sockets on the node; what has a network stack of its own, as a virtual machine, is not among them'),
    notServed: z.array(z.string()).describe('What kube-proxy and its companions serve and this does not, by name'),
  })
  .describe('Of the place of kube-proxy; absent: it was not asked for')
