// What waits in one partition, by ordering key, and which keys may run now. One thing of a key is in hand at a time.

import type { Occasion } from '../coordinators/reaction.ts';
import type { DaybookError } from '../errors.ts';
import type { OrderingKey } from '../store.ts';
import { TransientMap } from '../transient-map.ts';
import type { EventItem } from './items.ts';

/** A timer that fired, or a rejection: it lies nowhere in the log. */
export interface TriggerItem {
  readonly kind: 'trigger';
  readonly occasion: Exclude<Occasion, { kind: 'events' }>;
  resolve(): void;
  reject(error: unknown): void;
  /** The component could not handle it. Nothing else of the key begins before this is over. */
  failed(error: DaybookError): Promise<void>;
}

/** What waits for one ordering key. */
export interface Lane {
  readonly key: OrderingKey;
  queue: (EventItem | TriggerItem)[];
  busy: boolean;
  /** In the queue of lanes that may run. */
  ready: boolean;
  /** Not before a unit is stored. */
  held: boolean;
  /** Not before a moment has passed. */
  resting: boolean;
  /** What is first in it was in hand when its host, or its daemon, went away. */
  suspect: boolean;
  /** Tries in a row that nobody judged. */
  uncounted: number;
}

export class Lanes {
  /** The key is nobody else's. */
  readonly #mayRun: (key: OrderingKey) => boolean;
  readonly #onReady: () => void;
  readonly #lanes = new TransientMap<OrderingKey, Lane>();
  #ready: Lane[] = [];
  /** Lanes whose first event another generation has to handle before. */
  readonly #aside = new Set<Lane>();

  constructor(mayRun: (key: OrderingKey) => boolean, onReady: () => void) {
    this.#mayRun = mayRun;
    this.#onReady = onReady;
  }

  get anyReady(): boolean {
    return this.#ready.length > 0;
  }

  get anyAside(): boolean {
    return this.#aside.size > 0;
  }

  get all(): readonly Lane[] {
    return [...this.#lanes.values()];
  }

  get(key: OrderingKey): Lane | undefined {
    return this.#lanes.get(key);
  }

  ofKey(key: OrderingKey): Lane {
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = { key, queue: [], busy: false, ready: false, held: false, resting: false, suspect: false, uncounted: 0 };
      this.#lanes.set(key, lane);
    }
    return lane;
  }

  /** Into the queue of lanes that may run, if it may. */
  enlist(lane: Lane): void {
    if (lane.busy || lane.held || lane.resting || lane.queue.length === 0 || !this.#mayRun(lane.key)) return;
    if (!lane.ready) this.#ready.push(lane);
    lane.ready = true;
    this.#onReady();
  }

  /** The lane that is first to run; it stays so until it is taken. */
  get next(): Lane | undefined {
    return this.#ready[0];
  }

  take(): void {
    this.#ready.shift()!.ready = false;
  }

  setAside(lane: Lane): void {
    this.#aside.add(lane);
  }

  /** Those that were set aside are looked at again. */
  recheck(): void {
    const lanes = [...this.#aside];
    this.#aside.clear();
    for (const lane of lanes) this.enlist(lane);
  }

  forgetEmpty(lane: Lane): void {
    if (lane.queue.length === 0 && !lane.busy && !lane.held && !lane.resting) this.#lanes.delete(lane.key);
  }

  clear(): void {
    this.#lanes.clear();
    this.#aside.clear();
    this.#ready = [];
  }
}
