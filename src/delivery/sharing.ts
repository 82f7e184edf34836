// Which daemons work for a subscription, and which of its partitions is whose. Everybody comes to the same answer by the same heartbeats.

import { declaredGeneration, filterVersion } from '../model/subscription.ts';
import type { SubscriptionDefinition } from '../store.ts';
import type { InstanceBody } from './instances.ts';

/**
 * Daemons that can reach the component, in order; when none can, all, unless nothing could be done: outputs that wait go all the same.
 */
export function membersOf(
  definition: SubscriptionDefinition,
  others: readonly InstanceBody[],
  own: InstanceBody,
): { members: string[]; hosted: boolean } {
  const known = knownOf(others, own);
  const replacing = known.find((other) =>
    other.replacing.some(({ name, generation }) => name === definition.name && generation === definition.generation),
  );
  if (replacing !== undefined) return { members: [replacing.instance], hosted: true };
  const hosting = hostsOf(definition, known);
  const hosted = hosting.length > 0;
  const useful = hosted ? hosting : definition.kind === 'projector' ? [] : known;
  return { members: useful.map(({ instance }) => instance).sort(), hosted };
}

/** What others say is as of the last heartbeat, `own` is as of now. */
export function knownOf(others: readonly InstanceBody[], own: InstanceBody): readonly InstanceBody[] {
  return others.length === 0 ? [own] : others.map((other) => (other.instance === own.instance ? own : other));
}

/** Daemons that can reach the component. */
export function hostsOf(definition: SubscriptionDefinition, known: readonly InstanceBody[]): InstanceBody[] {
  return known.filter(({ components }) =>
    components.some(
      (component) =>
        component.name === definition.name && component.kind === definition.kind && serves(component, definition),
    ),
  );
}

export function isMine(instance: string, members: readonly string[], name: string, partition: number): boolean {
  return members[(partition + hash(name)) % members.length] === instance;
}

/** Who declared this may work for the subscription. */
export function serves(
  component: { generation: number; version: number },
  definition: SubscriptionDefinition,
): boolean {
  return declaredGeneration(definition) === component.generation && filterVersion(definition) <= component.version;
}

/** Spreads the first partitions of subscriptions over the daemons. */
function hash(text: string): number {
  let sum = 0;
  for (let i = 0; i < text.length; i++) sum = (sum * 31 + text.charCodeAt(i)) >>> 0;
  return sum;
}
