/**
 * The fields of the kinds that Kubernetes brings, as its API has them, where Herald reads some of them. An API server
 * drops any other, so that one which it delivers is a field of a newer Kubernetes; from a folder they come as they were
 * written. `[]`: of each item of a list. Pure.
 */

export const coreFields: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  Service: {
    spec: [
      ...['allocateLoadBalancerNodePorts', 'clusterIP', 'clusterIPs', 'externalIPs', 'externalName'],
      ...['externalTrafficPolicy', 'healthCheckNodePort', 'internalTrafficPolicy', 'ipFamilies', 'ipFamily'],
      ...['ipFamilyPolicy', 'loadBalancerClass', 'loadBalancerIP', 'loadBalancerSourceRanges', 'ports'],
      ...['publishNotReadyAddresses', 'selector', 'sessionAffinity', 'sessionAffinityConfig', 'topologyKeys'],
      ...['trafficDistribution', 'type'],
    ],
    'spec.ports[]': ['appProtocol', 'name', 'nodePort', 'port', 'protocol', 'targetPort'],
    'spec.sessionAffinityConfig': ['clientIP'],
    'spec.sessionAffinityConfig.clientIP': ['timeoutSeconds'],
    status: ['conditions', 'loadBalancer'],
    'status.loadBalancer': ['ingress'],
    'status.loadBalancer.ingress[]': ['hostname', 'ip', 'ipMode', 'ports'],
  },
  EndpointSlice: {
    'endpoints[]': [
      ...['addresses', 'conditions', 'deprecatedTopology', 'hints', 'hostname', 'nodeName', 'targetRef', 'zone'],
    ],
    'endpoints[].conditions': ['ready', 'serving', 'terminating'],
    'ports[]': ['appProtocol', 'name', 'port', 'protocol'],
  },
  Node: {
    spec: ['configSource', 'externalID', 'podCIDR', 'podCIDRs', 'providerID', 'taints', 'unschedulable'],
    'spec.taints[]': ['effect', 'key', 'timeAdded', 'value'],
    'status.addresses[]': ['address', 'type'],
    'status.conditions[]': ['lastHeartbeatTime', 'lastTransitionTime', 'message', 'reason', 'status', 'type'],
  },
}
