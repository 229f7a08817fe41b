/** What a CustomResourceDefinition says beside its schema, and the definition that comes of both. */
import type * as z from 'zod'
import { kinds, type ServedKind } from '../../src/k8s/kinds/table.ts'
import { structuralOf, type Structural, type Texts } from './structural.ts'

/** A column of `kubectl get`; `priority` 1 is for `-o wide`. */
export interface Column {
  readonly name: string
  readonly type: 'string' | 'integer' | 'date' | 'boolean'
  readonly jsonPath: string
  readonly description?: string
  readonly priority?: number
}

export interface Definition {
  readonly shortNames: readonly string[]
  readonly categories: readonly string[]
  /** Of the object as a whole. */
  readonly description: string
  /** Alike in every version. */
  readonly spec: z.ZodType
  readonly texts: Texts
  /** An object without it means something. */
  readonly isSpecOptional?: boolean
  readonly columns: readonly Column[]
  /** Beside `conditions`. */
  readonly status?: Readonly<Record<string, Structural>>
}

export const ageColumn: Column = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' }

const accepted = (field: string): string => `.status.conditions[?(@.type=="herald.dev/Accepted")].${field}`

/** Whether an object is understood, and what is wrong with it. */
export const acceptedColumns: readonly Column[] = [
  { name: 'Accepted', type: 'string', jsonPath: accepted('status') },
  { name: 'Reason', type: 'string', jsonPath: accepted('reason'), priority: 1 },
  { name: 'Message', type: 'string', jsonPath: accepted('message'), priority: 1 },
]

/** What everybody writes into a status: metav1.Condition. */
const conditions: Structural = {
  type: 'array',
  description: 'What is to be known about the object now, one entry for each type.',
  'x-kubernetes-list-type': 'map',
  'x-kubernetes-list-map-keys': ['type'],
  items: {
    type: 'object',
    required: ['type', 'status', 'reason', 'message', 'lastTransitionTime'],
    properties: {
      type: { type: 'string', maxLength: 316, description: 'What is stated, as herald.dev/Accepted.' },
      status: { type: 'string', enum: ['True', 'False', 'Unknown'], description: 'Whether it is so.' },
      reason: { type: 'string', maxLength: 1024, description: 'Why, in one word.' },
      message: { type: 'string', maxLength: 32768, description: 'Why, for people, and what to change.' },
      lastTransitionTime: { type: 'string', format: 'date-time', description: 'When the status changed last.' },
      observedGeneration: {
        type: 'integer',
        format: 'int64',
        minimum: 0,
        description: 'The generation of the object that this is about.',
      },
    },
  },
}

const standard = {
  apiVersion: { type: 'string', description: 'Group and version of this object.' },
  kind: { type: 'string', description: 'Its kind.' },
  metadata: { type: 'object' },
} as const

/** The CustomResourceDefinition of a kind, as an object. */
export function definitionOf(kind: ServedKind, definition: Definition): object {
  const { versions, scope, resource } = kinds[kind]
  const group = String(versions[0]).split('/')[0]
  const names = versions.map((each) => each.slice(each.indexOf('/') + 1))
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${resource}.${group}`, labels: { 'app.kubernetes.io/part-of': 'herald' } },
    spec: {
      group,
      scope,
      names: {
        kind,
        listKind: `${kind}List`,
        plural: resource,
        singular: kind.toLowerCase(),
        ...(definition.shortNames.length === 0 ? {} : { shortNames: definition.shortNames }),
        ...(definition.categories.length === 0 ? {} : { categories: definition.categories }),
      },
      // The newest version is the last of a row, and is the one that is stored.
      versions: names.map((name, index) => ({
        name,
        served: true,
        storage: index === names.length - 1,
        additionalPrinterColumns: definition.columns,
        subresources: { status: {} },
        schema: { openAPIV3Schema: schemaOf(definition) },
      })),
    },
  }
}

function schemaOf(definition: Definition): Structural {
  return {
    type: 'object',
    description: definition.description,
    ...(definition.isSpecOptional === true ? {} : { required: ['spec'] }),
    properties: {
      ...standard,
      spec: structuralOf(definition.spec, 'spec', definition.texts),
      status: {
        type: 'object',
        description: 'What was found out about the object; never written by people.',
        properties: { conditions, ...definition.status },
      },
    },
  }
}
