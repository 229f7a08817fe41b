/** What the agent says of clients on its node, whose sockets are led to backends. */
import * as z from 'zod'

export const ledBackendSchema = z.object({
  address: z.string().describe('IP address of the pod'),
  port: z.number().describe('Its port'),
  state: z.enum(['active', 'resting']).describe('active: takes what is new; resting: keeps the datagrams that it has'),
  chosen: z.number().describe('How often it was chosen, for a connection or for the datagrams of a socket'),
})

export const ledFrontendSchema = z.object({
  frontend: z.string().describe('address:port/protocol that clients on this node ask for'),
  isLed: z.boolean().describe('Whether their sockets are led to backends'),
  why: z.string().optional().describe('Why not, or why not to all backends'),
  chosen: z
    .number()
    .optional()
    .describe('How often a backend was chosen since this agent began, or the maps were made'),
  active: z.number().optional().describe('Backends that take what is new'),
  backends: z.array(ledBackendSchema).optional().describe('Whom they are led to; the first 100'),
})

/** Sockets whose backend is gone. */
export const endedSocketsSchema = z.object({
  count: z.number().describe('Since this agent began'),
  protocols: z.array(z.enum(['TCP', 'UDP'])).describe('Of which protocols they are ended'),
  areOfPods: z.boolean().describe("Whether also in the network namespaces of pods; else in the node's own alone"),
})
