// The generations of projectors. Readers get one of them; a newer one is built beside it; an older one goes when all that it had handled is
// handled again.

import type { SubscriptionDefinition } from '../store.ts';
import { Rebuild, type RebuildParts } from './rebuild.ts';
import { StoredProgress } from './stored-progress.ts';
import type { Subscription } from './subscription.ts';

export interface GenerationsParts extends RebuildParts {
  /** On this daemon. */
  subscription: (name: string, generation: number) => Subscription | undefined;
  /** Some daemon reaches its component. */
  isServed: (definition: SubscriptionDefinition) => boolean;
  /** The same, but only then. */
  again: (delayMs: number) => void;
}

/** In one batch of the removal of an old generation. */
const REMOVE_ROWS = 1000;
/** Between two looks whether an old generation may go. */
const LOOK_MS = 1000;

export class Generations {
  readonly #parts: GenerationsParts;
  readonly #rebuilds = new Map<string, Rebuild>();
  /** By projector; those that were replaced, and had handled what their successors have not. */
  #replaced: ReadonlyMap<string, readonly StoredProgress[]> = new Map();
  /** The same by name and generation, as it was when they were replaced. */
  readonly #ends = new Map<string, StoredProgress>();
  /** Those that are being removed. */
  readonly #going = new Set<string>();
  #stopped = false;

  constructor(parts: GenerationsParts) {
    this.#parts = parts;
  }

  /** Partitions of this generation are not to be taken by the usual way now. */
  holds(name: string, generation: number): boolean {
    return this.#rebuilds.get(name)?.holds(generation) === true;
  }

  /** Those that this daemon is about to replace. */
  get replacing(): { name: string; generation: number }[] {
    return [...this.#rebuilds]
      .filter(([, rebuild]) => rebuild.holds(rebuild.previous))
      .map(([name, { previous }]) => ({ name, generation: previous }));
  }

  /** Something has changed, perhaps for a rebuild. */
  lookNow(): void {
    for (const rebuild of this.#rebuilds.values()) rebuild.lookNow();
  }

  stop(): void {
    this.#stopped = true;
    for (const rebuild of this.#rebuilds.values()) rebuild.stop();
  }

  /**
   * What is to be worked for: the newest, and what readers get until that is it. Of the others it removes those that nobody needs any more, and
   * remembers what the rest had handled.
   */
  async sortOut(definitions: readonly SubscriptionDefinition[]): Promise<SubscriptionDefinition[]> {
    const { store, again } = this.#parts;
    const newest = new Map(definitions.map(({ name, generation }) => [name, generation]));
    // The only generation is the one that readers get.
    if (newest.size === definitions.length) {
      this.#replaced = new Map();
      this.#ends.clear();
      return [...definitions];
    }
    const texts = new Set(definitions.map(generationText));
    for (const text of this.#ends.keys()) if (!texts.has(text)) this.#ends.delete(text);
    const generations = await store.activeGenerations();
    const activeOf = new Map(generations.map(({ projector, generation }) => [projector, generation]));
    const kept: SubscriptionDefinition[] = [];
    const replaced = new Map<string, StoredProgress[]>();
    for (const definition of definitions) {
      const { name, generation } = definition;
      // Sagas and process managers have one.
      const active = activeOf.get(name) ?? generation;
      if (generation === active || generation === newest.get(name)) {
        kept.push(definition);
        continue;
      }
      const old = generation < active ? await this.#remembered(name, generation, active) : undefined;
      if (old !== undefined) replaced.set(name, [...(replaced.get(name) ?? []), old]);
      else void this.#remove(name, generation);
      again(LOOK_MS);
    }
    this.#replaced = replaced;
    return kept;
  }

  /** Begins and ends rebuilds, as it was when they were sorted out. `kept`: in order of name and generation. */
  follow(kept: readonly SubscriptionDefinition[]): void {
    const projectors = Map.groupBy(
      kept.filter(({ kind }) => kind === 'projector'),
      ({ name }) => name,
    );
    for (const [name, definitions] of projectors) {
      const newest = definitions.at(-1)!;
      for (const { generation } of definitions)
        this.#parts.subscription(name, generation)!.replaces(this.#replaced.get(name) ?? []);
      const running = this.#rebuilds.get(name);
      const goesOn =
        definitions.length > 1 &&
        running?.generation === newest.generation &&
        running.previous === definitions[0]!.generation;
      if (goesOn) continue;
      running?.over();
      this.#rebuilds.delete(name);
      if (definitions.length > 1) this.#begin(definitions[0]!, newest);
    }
  }

  #begin(previous: SubscriptionDefinition, next: SubscriptionDefinition): void {
    const { subscription, isServed } = this.#parts;
    const { name, generation } = previous;
    const rebuild = new Rebuild({
      ...this.#parts,
      previous: generation,
      next: subscription(name, next.generation)!,
      old: () => subscription(name, generation),
      isServed: () => isServed(previous),
    });
    this.#rebuilds.set(name, rebuild);
    rebuild.start();
  }

  /** What it had handled; `undefined`: its successor has handled all of that. */
  async #remembered(name: string, generation: number, active: number): Promise<StoredProgress | undefined> {
    const { store } = this.#parts;
    const cursors = await store.listCursors(name);
    const of = (wanted: number) => cursors.filter((row) => row.generation === wanted);
    const text = generationText({ name, generation });
    // Nobody works for it any more: it stays as it is.
    const old = this.#ends.get(text) ?? (await StoredProgress.read(store, of(generation)));
    this.#ends.set(text, old);
    const behind = of(active).some(({ position }) => position < old.end);
    if (behind || !(await StoredProgress.read(store, of(active), { done: false, parked: true })).isPast(old.end))
      return old;
    this.#ends.delete(text);
    return undefined;
  }

  async #remove(name: string, generation: number): Promise<void> {
    const { store, log } = this.#parts;
    const text = generationText({ name, generation });
    if (this.#going.has(text)) return;
    this.#going.add(text);
    try {
      while (!this.#stopped && !(await store.removeGeneration(name, generation, REMOVE_ROWS)));
    } catch (error) {
      log.warn({ subscription: name, generation, err: error }, 'an old generation could not be removed; trying again');
    } finally {
      this.#going.delete(text);
    }
  }
}

export function generationText({ name, generation }: Pick<SubscriptionDefinition, 'name' | 'generation'>): string {
  return `${name} ${generation}`;
}
