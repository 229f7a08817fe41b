/** What the agent says of its datapath, and of what is pinned. */
import * as z from 'zod'

export const mapSchema = z.object({
  name: z.string().describe('Name of the map'),
  entries: z.number().describe('Entries in use'),
  maxEntries: z.number().describe('Entries that fit'),
})

export const dropSchema = z.object({
  reason: z.string().describe('Why, as in docs/operate.md'),
  family: z.enum(['ipv4', 'ipv6']).describe('Of the packets'),
  fate: z
    .enum(['answered', 'refused', 'dropped', 'held', 'served'])
    .describe(
      'answered: as it should be; refused: by RST or ICMP; dropped: without a word; held: it waits, or goes on; ' +
        'served: passed on',
    ),
  packets: z.number().describe('Since the maps were made'),
})

export const pinnedMapSchema = z.object({
  name: z.string().describe('Name of the map'),
  schema: z.number().describe('Schema version under which it is pinned'),
  type: z.string().describe('As bpftool calls it'),
  keyBytes: z.number().describe('Octets of a key'),
  valueBytes: z.number().describe('Octets of a value; of a per-CPU map for one CPU'),
  entries: z.number().optional().describe('Entries in use; of a hash only'),
  maxEntries: z.number().describe('Entries that fit; of a ring buffer its octets'),
  memoryBytes: z.number().optional().describe('What the kernel counts for it'),
})

export const rawEntrySchema = z.object({
  key: z.string().describe('Octets in hexadecimal'),
  value: z.string().describe('The same; of a per-CPU map the values of all possible CPUs in a row'),
})

/** What a program of XDP may do with packets: the keys of what it counts. */
export const earlyKindSchema = z.enum(['handedOn', 'answered', 'dropped'])

export const acceleratedInterfaceSchema = z.object({
  interface: z.string().describe('Its name'),
  mode: z
    .enum(['native', 'generic', 'none'])
    .describe('native: in its driver; generic: in front of TC; none: TC has every packet'),
  packets: z
    .object({
      handedOn: z.number().describe('To the nodes of their backends'),
      answered: z.number().describe('Echo requests'),
      dropped: z.number().describe('For the reasons of datapath.drops'),
    })
    .optional()
    .describe('What it did since this agent has put it there'),
  takes: z.array(earlyKindSchema).optional().describe('What is done there; all else is left to TC'),
  reason: z.string().optional().describe('Why it has none, or what is left to TC; for people'),
})

export const accelerationSchema = z.object({
  wanted: z.enum(['native', 'best-effort', 'generic']).describe('What was asked for'),
  interfaces: z.array(acceleratedInterfaceSchema).describe('Interfaces with our programs'),
  problem: z.string().optional().describe('Why no interface can have it; for people'),
})

export const earlyFrontendSchema = z.object({
  frontend: z.string().describe('address:port/protocol'),
  takes: z
    .array(earlyKindSchema)
    .describe(
      'handedOn: packets for backends on other nodes, of flows that go on; answered: echo requests to its address; ' +
        'dropped: broken headers, and sources that are not let in',
    ),
  why: z.string().optional().describe('Why its flows are left to TC, where they are; for people'),
})

/** Of one Service. */
export const earlyServiceSchema = z.object({
  frontends: z.array(earlyFrontendSchema).describe('What may be taken of each, where an interface takes it'),
  interfaces: z.array(acceleratedInterfaceSchema).describe('Which of it each interface takes'),
  problem: z.string().optional().describe('Why no interface can have it; for people'),
})
