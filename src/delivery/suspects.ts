// Keys that may have brought down their host or their daemon: each is tried alone, with nothing else of the subscription in hand.

import { asDaybookError, type DaybookError } from '../errors.ts';
import type { OrderingKey } from '../store.ts';
import type { Partition } from './partition.ts';

export interface SuspectsContext {
  /** Something that is not a suspect. */
  inHand(): boolean;
  /** A call to the component may begin. */
  mayTry(): boolean;
  restart(partition: Partition, error: DaybookError): void;
  /** The others may go on. */
  onOver(): void;
}

export class Suspects {
  readonly #context: SuspectsContext;
  /** In the order in which they came. */
  readonly #waiting = new Map<string, { partition: Partition; key: OrderingKey }>();
  #trying = false;

  constructor(context: SuspectsContext) {
    this.#context = context;
  }

  /** One is tried, or waits for it: nothing else begins. */
  get any(): boolean {
    return this.#trying || this.#waiting.size > 0;
  }

  add(partition: Partition, key: OrderingKey): void {
    this.#waiting.set(`${partition.key.partition} ${partition.epoch} ${key}`, { partition, key });
    this.pump();
  }

  /** Nothing is in hand any more, or calls may begin again. */
  pump(): void {
    const { inHand, mayTry } = this.#context;
    if (!this.#trying && !inHand() && this.#waiting.size > 0 && mayTry()) void this.#try();
  }

  /** One after the other. */
  async #try(): Promise<void> {
    const { mayTry, restart, onOver } = this.#context;
    this.#trying = true;
    try {
      for (const [text, { partition, key }] of this.#waiting) {
        if (!mayTry()) break;
        this.#waiting.delete(text);
        // Whoever gets it next is told that it is one.
        if (partition.closed) continue;
        await partition.trySuspect(key).catch((thrown) => {
          if (!partition.stopped) restart(partition, asDaybookError(thrown));
        });
      }
    } finally {
      this.#trying = false;
    }
    onOver();
  }
}
