/** Names as the API server allows them (RFC 1123); one that it refuses would be nobody's object anywhere else. Pure. */

const label = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/
const subdomain = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/

const labelRule =
  'an RFC 1123 label: at most 63 lower case letters, digits and "-", with a letter or digit at both ends'
const subdomainRule =
  'an RFC 1123 subdomain: at most 253 lower case letters, digits, "-" and ".", with a letter or digit at both ends ' +
  'of each part'

/** The rule that a name of this kind breaks; undefined when it is fine. */
export function brokenNameRule(kind: string, name: string): string | undefined {
  if (kind === 'Service' || kind === 'Namespace') return brokenLabelRule(name)
  return name.length <= 253 && subdomain.test(name) ? undefined : subdomainRule
}

/** The same for a namespace. */
export function brokenLabelRule(name: string): string | undefined {
  return name.length <= 63 && label.test(name) ? undefined : labelRule
}
