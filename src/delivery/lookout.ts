// What nobody here was told: outputs and timers that are due in the partitions held here, and parked keys that were replayed through another
// daemon. One look for all of them, however many partitions there are, so that an idle daemon asks next to nothing.

import type { Runtime, Timer } from '../runtime.ts';
import type { ParkedKey, PartitionKey, Store } from '../store.ts';
import type { DeliveryLog } from './parts.ts';
import type { Subscription } from './subscription.ts';

export interface LookoutParts {
  store: Pick<Store, 'nextDue' | 'listParked'>;
  runtime: Runtime;
  instance: string;
  /** Microseconds since 1970, as the store counts them. */
  storeClock: () => number;
  everyMs: number;
  subscriptions: () => readonly Subscription[];
  log: DeliveryLog;
}

/** With more parked keys in all, each partition looks for its own. */
const PARKED_ROWS = 500;

export class Lookout {
  readonly #parts: LookoutParts;
  #timer: Timer | undefined;
  #looking = false;
  #again = false;
  #stopped = false;

  constructor(parts: LookoutParts) {
    this.#parts = parts;
  }

  start(): void {
    if (this.#stopped) return;
    this.#timer = this.#parts.runtime.after(this.#parts.everyMs, () => this.soon());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** Now, or once more after the look that is under way. */
  soon(): void {
    this.#again = true;
    if (!this.#looking && !this.#stopped) void this.#look();
  }

  async #look(): Promise<void> {
    this.#looking = true;
    this.#timer?.cancel();
    while (this.#again && !this.#stopped) {
      this.#again = false;
      try {
        await this.#lookForDue();
        await this.#lookForParked();
      } catch (error) {
        this.#parts.log.warn({ err: error }, 'what is due cannot be looked for; trying again');
        break;
      }
    }
    this.#looking = false;
    this.start();
  }

  async #lookForDue(): Promise<void> {
    const { store, instance, subscriptions, storeClock, everyMs } = this.#parts;
    if (!subscriptions().some((subscription) => subscription.reacts && subscription.partitions.length > 0)) return;
    const due = await store.nextDue(instance);
    // What is due before the next look sets a clock of its own.
    const soon = storeClock() + 2 * everyMs * 1000;
    for (const { outboxDue = Infinity, timerDue = Infinity, ...key } of due) {
      const outbox = outboxDue <= soon;
      const timers = timerDue <= soon;
      if (outbox || timers) this.#subscriptionOf(key)?.kickDue(key.partition, { outbox, timers });
    }
  }

  /** Of those that are known here: what is new here was written here. */
  async #lookForParked(): Promise<void> {
    const { store, subscriptions } = this.#parts;
    const holding = subscriptions()
      .flatMap(({ partitions }) => partitions)
      .filter(({ parked }) => parked.rows > 0);
    if (holding.length === 0) return;
    const rows = await store.listParked({ limit: PARKED_ROWS });
    if (rows.length === PARKED_ROWS) {
      for (const { parked } of holding) await parked.refresh();
      return;
    }
    const found = Map.groupBy(rows, (row: ParkedKey) => textOf(row.partition));
    for (const { key, parked } of holding) parked.merge(found.get(textOf(key)) ?? []);
  }

  #subscriptionOf({ subscription, generation }: PartitionKey): Subscription | undefined {
    return this.#parts.subscriptions().find((each) => each.name === subscription && each.generation === generation);
  }
}

function textOf({ subscription, generation, partition }: PartitionKey): string {
  return `${subscription} ${generation} ${partition}`;
}
