/** Whose values are understood. Pure. */
import type { MovingFrom } from './report.ts'
import type { ValueTable } from './values.ts'
import { ciliumValues } from './values-cilium.ts'
import { metallbValues } from './values-metallb.ts'

export const valueTables: Readonly<Record<MovingFrom, ValueTable>> = { metallb: metallbValues, cilium: ciliumValues }
