// What the daemons of a log tell each other in their heartbeats.

import type { InstanceRow } from '../store.ts';

export interface InstanceBody {
  instance: string;
  version: string;
  incarnation: string;
  /** That it decides for now. */
  domains: string[];
  /** Projectors, sagas and process managers that it can reach now. */
  components: { name: string; kind: string; generation: number; version: number }[];
  /** Generations that it is about to replace, by name: nobody else holds their partitions meanwhile. */
  replacing: { name: string; generation: number }[];
  /** By the store's clock. */
  heartbeatAtMicros: number;
}

export function describeInstance(body: InstanceBody): Uint8Array {
  return Buffer.from(JSON.stringify(body));
}

export function readInstance({ instance, body, heartbeatAtMicros }: InstanceRow): InstanceBody {
  const read = JSON.parse(Buffer.from(body).toString()) as InstanceBody;
  return { ...read, replacing: read.replacing ?? [], instance, heartbeatAtMicros };
}
