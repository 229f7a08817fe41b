/** core/v1 Namespace: its labels, by which pools select the Services in it. */
import * as z from 'zod'
import type { Labels } from '../../desired/label-selector.ts'
import type { RawObject } from '../source.ts'
import { metadataSchema, narrow, type Metadata, type Narrowed } from './narrow.ts'

const schema = z.object({ metadata: metadataSchema })

export interface Namespace {
  readonly metadata: Metadata
}

const noLabels: Labels = {}

/** Of the annotations, which others write for themselves, nothing is kept. */
export function parseNamespace(raw: RawObject): Narrowed<Namespace> {
  const { value, faults } = narrow(schema, raw)
  if (value === undefined) return { faults }
  const { name, labels, creationTimestamp } = value.metadata
  // The API server adds this label to each of them.
  const own = { ...labels, 'kubernetes.io/metadata.name': name }
  return { value: { metadata: { name, labels: own, annotations: noLabels, creationTimestamp } }, faults }
}
