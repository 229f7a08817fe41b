/** The CustomResourceDefinitions of the chart, for clusters of tests. */
import { crdOf } from '../../scripts/crds.ts'

export const policyCrd = crdOf('CiliumBGPPeeringPolicy')
export const poolCrd = crdOf('CiliumLoadBalancerIPPool')
