// What a component declares, against what is known of it.

import type { ReactorDeclaration } from '../component.ts';
import { declaredGeneration, filterVersion, rowVersion } from '../model/subscription.ts';
import type { Store, SubscriptionDefinition } from '../store.ts';

/** Why the component gets no work under this declaration; `undefined`: it does. `known` are all generations, the newest last. */
export function disagreement(
  declaration: ReactorDeclaration,
  known: readonly SubscriptionDefinition[],
): string | undefined {
  const { name, kind, generation, version } = declaration;
  const newest = known.at(-1);
  if (newest === undefined) return undefined;
  if (newest.kind !== kind) return `${name}: is a ${newest.kind} of this log, and cannot be a ${kind} too`;
  const declared = declaredGeneration(newest);
  if (generation > declared) return undefined;
  const same = [...known].reverse().find((row) => declaredGeneration(row) === generation);
  if (same === undefined)
    return `${name}: generation ${declared} was declared, so generation ${generation} gets no more work`;
  const knownVersion = filterVersion(same);
  if (version < knownVersion) {
    return `${name}: version ${knownVersion} of its filter was declared, so version ${version} gets no more work`;
  }
  if (partitionsOf(declaration) !== same.partitions) {
    return `${name}: has ${same.partitions} partitions, and keeps them within a generation; found ${partitionsOf(declaration)}`;
  }
  if (version === knownVersion && !sameFilter(declaration, same)) {
    return `${name}: its filter is not the one that version ${version} was declared with: raise version`;
  }
  return undefined;
}

/** What to declare in the store; `undefined`: it is known. */
export function definitionOf(
  declaration: ReactorDeclaration,
  known: readonly SubscriptionDefinition[],
  startAfter: number,
): SubscriptionDefinition | undefined {
  const { name, kind, domains, types, sync } = declaration;
  const version = rowVersion(declaration);
  const newest = known.at(-1);
  const same = [...known].reverse().find((row) => declaredGeneration(row) === declaration.generation);
  if (same !== undefined && same.version >= version && same.sync === sync) return undefined;
  const generation = same?.generation ?? (newest === undefined ? declaration.generation : newest.generation + 1);
  return {
    name,
    kind,
    generation,
    version,
    domains: [...domains],
    types: [...types],
    partitions: partitionsOf(declaration),
    startAfter,
    sync,
    paused: false,
  };
}

/** Beside the newest generation, with the same declaration: an operator wants it built anew. */
export function rebuiltDefinition(newest: SubscriptionDefinition, startAfter: number): SubscriptionDefinition {
  return { ...newest, generation: newest.generation + 1, startAfter, paused: false };
}

/** What no generation has handled is left out by none, wherever the next one is to begin. */
export async function startAfterAll(
  store: Pick<Store, 'activeGeneration' | 'listCursors'>,
  name: string,
  wanted: number,
): Promise<number> {
  const active = await store.activeGeneration(name);
  const cursors = (await store.listCursors(name)).filter(({ generation }) => generation === active);
  return cursors.reduce((least, { position }) => Math.min(least, position), wanted);
}

function partitionsOf({ ordered, partitions }: ReactorDeclaration): number {
  // One partition is what an ordered projector has, and nothing else: a failing event there holds up the whole log.
  return ordered ? 1 : Math.max(2, partitions);
}

function sameFilter(a: { domains: readonly string[]; types: readonly string[] }, b: typeof a): boolean {
  const text = (filter: typeof a) => JSON.stringify([[...filter.domains].sort(), [...filter.types].sort()]);
  return text(a) === text(b);
}
