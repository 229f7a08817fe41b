/** Extended communities as people write them, to the 16 hexadecimal digits of the model (RFC 4360, RFC 5668). Pure. */
import { parseIpv4 } from '../../ip/address.ts'

/** RFC 4360 4, 5: subtypes of route target and route origin; link bandwidth is draft-ietf-idr-link-bandwidth. */
const subtypes: Readonly<Record<string, number>> = { rt: 0x02, soo: 0x03 }
const linkBandwidth = 0x4004

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0')

/**
 * `rt:65000:100`, `soo:192.0.2.1:7`, `lb:65000:12500000` (octets per second) or the digits themselves; undefined when
 * it is none.
 */
export function parseExtendedCommunity(text: string): string | undefined {
  if (/^[0-9a-fA-F]{16}$/.test(text)) return text.toLowerCase()
  const [kind = '', administrator = '', value = ''] = text.split(':')
  const number = /^[0-9]{1,12}$/.test(value) ? Number(value) : Number.NaN
  if (text.split(':').length !== 3 || Number.isNaN(number)) return undefined
  if (kind === 'lb') return bandwidth(administrator, number)
  const subtype = subtypes[kind]
  return subtype === undefined ? undefined : specific(subtype, administrator, number)
}

/** Type 0 with a two-octet AS, 1 with an IPv4 address, 2 with a four-octet AS. */
function specific(subtype: number, administrator: string, value: number): string | undefined {
  const address = administrator.includes('.') ? parseIpv4(administrator) : undefined
  if (address !== undefined)
    return value > 0xffff ? undefined : `01${hex(subtype, 2)}${hex(address, 8)}${hex(value, 4)}`
  const asn = /^[0-9]{1,10}$/.test(administrator) ? Number(administrator) : Number.NaN
  if (asn <= 0xffff) return value > 0xffffffff ? undefined : `00${hex(subtype, 2)}${hex(asn, 4)}${hex(value, 8)}`
  return asn <= 0xffffffff && value <= 0xffff ? `02${hex(subtype, 2)}${hex(asn, 8)}${hex(value, 4)}` : undefined
}

/** Non-transitive, the bandwidth as an IEEE 754 number of 32 bits. */
function bandwidth(administrator: string, octetsPerSec: number): string | undefined {
  const asn = /^[0-9]{1,5}$/.test(administrator) ? Number(administrator) : Number.NaN
  if (!(asn <= 0xffff)) return undefined
  const view = new DataView(new ArrayBuffer(4))
  view.setFloat32(0, octetsPerSec)
  return `${hex(linkBandwidth, 4)}${hex(asn, 4)}${hex(view.getUint32(0), 8)}`
}
