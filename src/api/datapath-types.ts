/** What the agent says of its datapath. */
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
  reason: z.string().optional().describe('Why it has none, or what is left to TC; for people'),
})

export const accelerationSchema = z.object({
  wanted: z.enum(['native', 'best-effort', 'generic']).describe('What was asked for'),
  interfaces: z.array(acceleratedInterfaceSchema).describe('Interfaces with our programs'),
  problem: z.string().optional().describe('Why no interface can have it; for people'),
})
