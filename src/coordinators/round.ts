// Where events stand with subscriptions, as one round of looking sees it.

import { DaybookError } from '../errors.ts';
import type { EventPage } from '../model/book.ts';
import type { Runtime } from '../runtime.ts';
import type { ParkedKey, PartitionCursor, PartitionKey, Store, SubscriptionDefinition } from '../store.ts';

/** What delivery knows of the partitions that it holds. */
export interface Deliveries {
  /** Called when a cursor moved, a key was parked, or an output went. */
  onProgress(listener: () => void): () => void;
  /** Cursors that may move, move. */
  hurry(): void;
  /** A host of it has attached, here or to another daemon: it is in the log, or will be in a moment. */
  isHosted(subscription: string): boolean;
  /** `undefined`: not held here. */
  look(partition: PartitionKey): HeldPartition | undefined;
  storeClock(): number;
}

export interface HeldPartition {
  readonly position: number;
  hasHandled(position: number): boolean;
  parkedKey(key: string): ParkedKey | undefined;
}

export interface WaitingParts {
  store: Store;
  delivery: Deliveries;
  /** Whether an event may have another type by the time that it is handled. */
  mayChange: (domain: string, page: EventPage) => boolean;
  runtime: Runtime;
  limits: { waitingCommands: number };
}

const LIST_ROWS = 500;

/** What one round has read, so that waits share it. */
export class Round {
  readonly #parts: WaitingParts;
  #definitions: Promise<SubscriptionDefinition[]> | undefined;
  #cursors: Promise<Map<string, PartitionCursor>> | undefined;
  readonly #done = new Map<string, Promise<Set<number>>>();

  constructor(parts: WaitingParts) {
    this.#parts = parts;
  }

  /** Those that readers get: of a projector only its active generation, or, while that is not known, those whose rows are going. */
  definitions(): Promise<SubscriptionDefinition[]> {
    this.#definitions ??= this.#readDefinitions();
    return this.#definitions;
  }

  /** Where one event of one subscription stands. */
  async standing(partition: PartitionKey, key: string, position: number): Promise<Standing> {
    const { store, delivery } = this.#parts;
    const held = delivery.look(partition);
    if (held !== undefined) {
      const parked = held.parkedKey(key);
      if (parked !== undefined && parked.state !== 'draining' && position >= parked.position) return parked;
      return held.hasHandled(position) ? 'handled' : 'behind';
    }
    // The cursor first, then what is parked: what moves between the two is seen twice, not missed.
    const cursor = (await this.#allCursors()).get(partitionText(partition));
    const parked = await store.readParked(partition, key);
    if (parked !== undefined && parked.state !== 'draining' && position >= parked.position) return parked;
    if (cursor === undefined) return 'behind';
    if (position <= cursor.position) return 'handled';
    return (await this.#doneOf(partition)).has(position) ? 'handled' : 'behind';
  }

  /** How far all of them have come; none named: all. */
  async slowest(names: readonly string[], position: number): Promise<number> {
    const { store, delivery } = this.#parts;
    const wanted = (await this.definitions()).filter(({ name }) => names.length === 0 || names.includes(name));
    const missing = names.filter((name) => !wanted.some((definition) => definition.name === name));
    const unknown = missing.filter((name) => !delivery.isHosted(name));
    if (unknown.length > 0) {
      throw new DaybookError('INVALID_ARGUMENT', `subscriptions: this log has no subscription ${unknown.join(', ')}`, {
        metadata: { field: 'subscriptions' },
      });
    }
    if (missing.length > 0) return 0;
    const cursors = await this.#allCursors();
    let slowest = Infinity;
    for (const { name, generation, partitions } of wanted) {
      for (let partition = 0; partition < partitions; partition++) {
        const key = { subscription: name, generation, partition };
        const at = delivery.look(key)?.position ?? cursors.get(partitionText(key))?.position ?? 0;
        slowest = Math.min(slowest, at);
      }
      if (slowest < position) continue;
      for (const row of await store.listParked({ subscription: name, state: 'retrying', limit: LIST_ROWS })) {
        if (row.partition.generation === generation) slowest = Math.min(slowest, row.position - 1);
      }
    }
    return slowest === Infinity ? position : slowest;
  }

  async #readDefinitions(): Promise<SubscriptionDefinition[]> {
    const { store } = this.#parts;
    const all = await store.listSubscriptions();
    const generations = await store.activeGenerations();
    const active = new Map(generations.map(({ projector, generation }) => [projector, generation]));
    // Switched between the two reads: of what was listed none is active, and the next round knows the one that is.
    const switched = ({ name }: SubscriptionDefinition) =>
      !all.some((other) => other.name === name && other.generation === active.get(name));
    return all.filter(
      (each) => each.kind !== 'projector' || active.get(each.name) === each.generation || switched(each),
    );
  }

  #allCursors(): Promise<Map<string, PartitionCursor>> {
    this.#cursors ??= this.#parts.store
      .listCursors()
      .then((cursors) => new Map(cursors.map((cursor) => [partitionText(cursor), cursor])));
    return this.#cursors;
  }

  #doneOf(partition: PartitionKey): Promise<Set<number>> {
    const text = partitionText(partition);
    let done = this.#done.get(text);
    if (done === undefined) {
      done = this.#parts.store.listDone(partition).then((positions) => new Set(positions));
      this.#done.set(text, done);
    }
    return done;
  }
}

/** The key is parked, at or before the event; or it is not. */
export type Standing = 'handled' | 'behind' | ParkedKey;

function partitionText({ subscription, generation, partition }: PartitionKey): string {
  return `${subscription} ${generation} ${partition}`;
}
