/** The octets of addresses in keys and values, and where values are laid out before they are written. */
import { type Address, addressBytes, addressFromBytes, formatAddress, parseAddress, unmapped } from '../ip/address.ts'
import { passingOctets } from './maps.ts'

/** `struct ip_address`; of IPv4 the last word is the address. */
const [octetsOfAddress, lowAt] = [16, 12]

/** What is encoded is laid out here, and copied to where it passes. */
const draft = new DataView(new ArrayBuffer(128))
const draftOctets = new Uint8Array(draft.buffer)

export function drafted(length: number): DataView {
  draftOctets.fill(0, 0, length)
  return draft
}

/** Of a key or a value, which is written or looked up and dropped: who keeps it takes a copy. */
export function passingOf(length: number): Uint8Array {
  const value = passingOctets(length)
  for (let at = 0; at < length; at++) value[at] = draftOctets[at] ?? 0
  return value
}

export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Undefined when the text is none, or is itself a mapped one. */
export function addressOf(text: string): Address | undefined {
  const address = parseAddress(text)
  return address === undefined || unmapped(address) !== address ? undefined : address
}

/** Whether the maps can hold it. */
export function isKeyAddress(text: string): boolean {
  return addressOf(text) !== undefined
}

/** `struct ip_address`: 16 octets, those of IPv4 mapped; undefined when {@link isKeyAddress} says no. */
export function encodeAddressKey(text: string): Uint8Array | undefined {
  const address = addressOf(text)
  if (address === undefined) return undefined
  putAddress(draft, 0, address)
  return passingOf(octetsOfAddress)
}

export function putAddress(view: DataView, at: number, address: Address): void {
  if (typeof address === 'string')
    return new Uint8Array(view.buffer, view.byteOffset + at, octetsOfAddress).set(addressBytes(address))
  view.setUint32(at, 0)
  view.setUint32(at + 4, 0)
  view.setUint32(at + 8, 0xffff)
  view.setUint32(at + lowAt, address)
}

export function decodeAddressKey(key: Uint8Array): string {
  return formatAddress(unmapped(addressFromBytes(key.subarray(0, octetsOfAddress))))
}

export function writeAddress(view: DataView, at: number, address: string): void {
  const parsed = addressOf(address)
  if (parsed === undefined) new Uint8Array(view.buffer, view.byteOffset + at, octetsOfAddress).fill(0)
  else putAddress(view, at, parsed)
}

export function readAddress(view: DataView, at: number): string {
  const isMapped = view.getBigUint64(at) === 0n && view.getUint32(at + 8) === 0xffff
  if (isMapped) return formatAddress(view.getUint32(at + lowAt))
  return decodeAddressKey(new Uint8Array(view.buffer, view.byteOffset + at, octetsOfAddress))
}

/** All zeros: there is none. */
export function readOptional(view: DataView, at: number): string | undefined {
  const isNone = view.getBigUint64(at) === 0n && view.getBigUint64(at + 8) === 0n
  return isNone ? undefined : readAddress(view, at)
}

export function writeOptional(view: DataView, at: number, address: string | undefined): void {
  if (address === undefined) new Uint8Array(view.buffer, view.byteOffset + at, octetsOfAddress).fill(0)
  else writeAddress(view, at, address)
}
