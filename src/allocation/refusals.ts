/** Why a Service gets no address, in words: every pool that was looked at is named with its reason. Pure. */
import type { Family } from '../ip/address.ts'
import { type Pool, type PoolCustomer, type PoolTable, selectionText, unfitness } from './pool-table.ts'
import { maxSharing, type SharingObstacle } from './sharing.ts'

/** Codes as Cilium's condition IPAMRequestSatisfied has its reasons, in CamelCase, with some more. */
export interface Refusal {
  readonly code:
    | 'NoPool'
    | 'PoolSelectorMismatch'
    | 'OutOfAddresses'
    | 'AlreadyAllocated'
    | 'IncompatibleService'
    | 'InvalidRequest'
    | 'FamilyMismatch'
    | 'ReservedAddress'
  readonly message: string
  readonly remedy: string
  /** Of which there was no address. */
  readonly family?: Family
  /** It is so as long as nothing changes at these: of a family that is not said to be full. */
  readonly hinges?: readonly string[]
}

/** So many pools are named; a cluster may have hundreds. */
const namedPools = 8

export function invalidRequest(message: string): Refusal {
  return {
    code: 'InvalidRequest',
    message,
    remedy: 'Ask for IPv4 or IPv6 addresses, separated by commas, in one place.',
  }
}

export function familyMismatch(address: string, families: readonly Family[]): Refusal {
  return {
    code: 'FamilyMismatch',
    message:
      `the requested address ${address} is none of the families of the Service: ` +
      `${families.map(nameOf).join(', ')}`,
    remedy: 'Request an address of these families, or write the other one in spec.ipFamilies.',
  }
}

export function reservedAddress(address: string, reason: string): Refusal {
  return {
    code: 'ReservedAddress',
    message: `${address} is ${reason}: it is neither given away nor announced`,
    remedy: 'Use another address, and take this one out of the pools.',
  }
}

/** Of pools that give all addresses of a Service or none. */
export function severalPools(addresses: readonly string[]): Refusal {
  return {
    code: 'InvalidRequest',
    message: `the requested addresses ${addresses.join(' and ')} are not of one pool`,
    remedy: 'Request addresses of one pool.',
  }
}

const nameOf = (family: Family): string => (family === 'ipv4' ? 'IPv4' : 'IPv6')

/** No pool that gives this address away serves the Service. */
export function notGiven(address: string, table: PoolTable, customer: PoolCustomer): Refusal {
  const pools = table.poolsOf(address)
  const names = (list: readonly Pool[]): string => list.map(({ name }) => name).join(', ')
  if (pools.length === 0)
    return {
      code: 'NoPool',
      message: `no pool contains the requested address ${address}`,
      remedy: 'Request an address of a pool, or add it to one.',
    }
  const open = pools.filter((pool) => pool.closed === undefined)
  if (open.length === 0)
    return {
      code: 'NoPool',
      message:
        `the requested address ${address} is in ` +
        pools.map(({ name, closed }) => `pool ${name}, which is ${closed ?? ''}`).join('; '),
      remedy: 'Open the pool, or request another address.',
    }
  if (open.every((pool) => unfitness(pool, customer) === 'other'))
    return {
      code: 'InvalidRequest',
      message:
        `the requested address ${address} is of pool ${names(open)}, ` +
        `and the Service asks for pool ${customer.poolName ?? ''}`,
      remedy: 'Request an address of that pool, or no pool.',
    }
  if (open.every((pool) => unfitness(pool, customer) !== undefined))
    return {
      code: 'PoolSelectorMismatch',
      message:
        `the pool ${names(open)} of the requested address ${address} does not select this Service ` +
        `(it selects ${open.map(selectionText).join('; ')})`,
      remedy: 'Label the Service for the pool, or request another address.',
    }
  return {
    code: 'NoPool',
    message: `${address} is the first or last address of a block of pool ${names(open)}, which allows neither`,
    remedy: 'Request another address, or let the pool give its first and last addresses.',
  }
}

/** No pool had an address of these families for a Service that takes any: each is named with what is in the way. */
export function nothingFree(table: PoolTable, customer: PoolCustomer, families: readonly Family[]): Refusal {
  const { poolName } = customer
  const pools = table.pools.filter(({ name }) => poolName === undefined || name === poolName)
  if (pools.length === 0 && poolName !== undefined)
    return {
      code: 'NoPool',
      message: `there is no pool ${poolName} that can be used, which the Service asks for`,
      remedy: 'Name a pool that there is, or create or correct it.',
    }
  if (pools.length === 0)
    return {
      code: 'NoPool',
      message: 'there is no pool of addresses that can be used',
      remedy: 'Create or correct a pool with free addresses.',
    }
  const each = families.map((family) => ({ family, obstacles: obstaclesOf(pools, table, customer, family) }))
  const isSame = each.every(({ obstacles }) => obstacles === each[0]?.obstacles)
  const texts = isSame
    ? [`${families.map((family) => `no ${nameOf(family)}`).join(' and ')} address: ${each[0]?.obstacles}`]
    : each.map(({ family, obstacles }) => `no ${nameOf(family)} address: ${obstacles}`)
  return { ...kindOf(pools, table, customer, families[0] ?? 'ipv4'), message: texts.join('; ') }
}

/** What is in the way in each pool. */
function obstaclesOf(pools: readonly Pool[], table: PoolTable, customer: PoolCustomer, family: Family): string {
  const named = pools
    .slice(0, namedPools)
    .map(
      (pool) => `pool ${pool.name} ${textOf(pool, reasonOf(pool, table, customer, family), table, customer, family)}`,
    )
  return `${named.join(', ')}${pools.length > namedPools ? `, and ${pools.length - namedPools} more` : ''}`
}

function kindOf(
  pools: readonly Pool[],
  table: PoolTable,
  customer: PoolCustomer,
  family: Family,
): Omit<Refusal, 'message'> {
  const reasons = new Set<PoolReason>()
  for (const pool of pools) {
    reasons.add(reasonOf(pool, table, customer, family))
    // Nothing says more than these.
    if (reasons.has('full') || reasons.has('family')) break
  }
  const has = (reason: PoolReason): boolean => reasons.has(reason)
  if (has('full') || has('family'))
    return {
      code: 'OutOfAddresses',
      family,
      remedy: 'Add a block to a pool that selects the Service, or delete Services that hold its addresses.',
    }
  if (has('selector'))
    return { code: 'PoolSelectorMismatch', remedy: 'Label the Service for a pool, or widen what a pool selects.' }
  return {
    code: 'NoPool',
    remedy: has('manual')
      ? 'Request an address of the pool by name, or let it assign by itself.'
      : 'Open a pool, or correct it.',
  }
}

type PoolReason = 'closed' | 'other' | 'selector' | 'family' | 'manual' | 'full'

function reasonOf(pool: Pool, table: PoolTable, customer: PoolCustomer, family: Family): PoolReason {
  const kind = unfitness(pool, customer)
  if (kind !== undefined) return kind
  if (!table.hasFamily(pool, family) || lackingFamily(pool, table, customer) !== undefined) return 'family'
  return !pool.autoAssign && customer.poolName !== pool.name ? 'manual' : 'full'
}

/** Of those that a Service asks for one that a pool lacks which gives all of a Service or nothing. */
function lackingFamily(pool: Pool, table: PoolTable, { families }: PoolCustomer): Family | undefined {
  return pool.isWhole === true ? families?.find((each) => !table.hasFamily(pool, each)) : undefined
}

function textOf(pool: Pool, reason: PoolReason, table: PoolTable, customer: PoolCustomer, family: Family): string {
  switch (reason) {
    case 'other':
      return 'is another one than the Service asks for'
    case 'closed':
      return `is ${pool.closed ?? ''}`
    case 'selector':
      return `selects ${selectionText(pool)}`
    case 'manual':
      return 'only gives to those who ask by name'
    case 'full': {
      const isOfAll = pool.isWhole === true && (customer.families?.length ?? 1) > 1
      return isOfAll ? 'is full of one family, and all of a Service are of one pool' : 'is full'
    }
    case 'family': {
      const other = table.hasFamily(pool, family) ? lackingFamily(pool, table, customer) : undefined
      if (other === undefined) return `gives no ${nameOf(family)} addresses`
      return `gives no ${nameOf(other)} addresses, and all of a Service are of one pool`
    }
  }
}

export function takenBy(address: string, owner: string, obstacle: SharingObstacle): Refusal {
  switch (obstacle.kind) {
    case 'key':
      return {
        code: 'AlreadyAllocated',
        message: `${address} belongs to ${owner}`,
        remedy: 'Request another address, or give both Services the same sharing key.',
      }
    case 'namespace':
      return {
        code: 'IncompatibleService',
        message: `${address} belongs to ${owner} of another namespace`,
        remedy: 'Let both Services share across namespaces, each naming the other one, or request another address.',
      }
    case 'crowd':
      return {
        code: 'AlreadyAllocated',
        message: `${address} is shared by ${maxSharing} Services already, which is the most`,
        remedy: 'Give some of the Services another sharing key.',
      }
    case 'port':
      return {
        code: 'IncompatibleService',
        message: `${owner} has port ${obstacle.port} of ${address}`,
        remedy: 'Use different ports, or different addresses.',
      }
    case 'traffic':
      return {
        code: 'IncompatibleService',
        message: `${owner} on ${address} has another externalTrafficPolicy or, under Local, another selector`,
        remedy: 'Make them equal, or under Local permit different pods on both, or use different addresses.',
      }
  }
}

export function recordedFor(address: string, owner: string): Refusal {
  return {
    code: 'AlreadyAllocated',
    message: `${address} is recorded for ${owner}`,
    remedy: 'Request another address.',
  }
}
