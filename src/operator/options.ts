/** What `herald operator` can be told; the same names in camelCase are the keys of --config. */

export interface OperatorOptions {
  /** undefined: by the service account of the pod. */
  readonly kubeconfig?: string
  /** Of the Lease. */
  readonly namespace: string
  /** By which others see who holds the Lease. */
  readonly identity: string
  /** undefined: no HTTP port. */
  readonly http?: { readonly host: string; readonly port: number }
  readonly loadBalancerClass?: string
  /** Services without a class are left alone. */
  readonly requireLoadBalancerClass: boolean
  /** Metrics also under the names of another announcer. */
  readonly metricAliases: boolean
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error'
  readonly logFormat: 'json' | 'text'
}
