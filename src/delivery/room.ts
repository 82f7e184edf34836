// What a subscription has in hand, and who has to wait before it begins more.

import { Concurrency } from '../model/concurrency.ts';
import type { Runtime, Timer } from '../runtime.ts';

/** Between two looks whether there should be more room. */
const LOOK_MS = 100;

export interface Waiting {
  /** Begins what it can: there may be room. */
  pump(): void;
}

export class Room {
  readonly #runtime: Runtime;
  readonly #requests: Concurrency;
  readonly #waiting = new Set<Waiting>();
  #look: Timer | undefined;
  #stopped = false;

  /** `few`: there is room for so many in any case. */
  constructor(runtime: Runtime, few: number) {
    this.#runtime = runtime;
    this.#requests = new Concurrency(few);
  }

  get inHand(): number {
    return this.#requests.inHand;
  }

  /** One more may begin. False: whoever asked is pumped when there is room. */
  for(who: Waiting): boolean {
    if (this.#requests.open) return true;
    this.#waiting.add(who);
    if (this.#look === undefined && !this.#stopped) {
      this.#requests.watch(this.#runtime.monotonicMs());
      this.#lookLater();
    }
    return false;
  }

  began(): void {
    this.#requests.began();
  }

  /** It was about so many events. */
  ended(events: number): void {
    this.#requests.ended(events);
    this.#give();
  }

  /** It wants nothing any more. */
  forget(who: Waiting): void {
    this.#waiting.delete(who);
  }

  stop(): void {
    this.#stopped = true;
    this.#look?.cancel();
    this.#waiting.clear();
  }

  /** In turn: whoever takes some comes last the next time. */
  #give(): void {
    for (let left = this.#waiting.size; left > 0 && this.#requests.open; left--) {
      const [who] = this.#waiting;
      this.#waiting.delete(who!);
      who!.pump();
    }
  }

  #lookLater(): void {
    this.#look = this.#runtime.after(LOOK_MS, () => {
      this.#look = undefined;
      if (this.#requests.look(this.#runtime.monotonicMs())) this.#lookLater();
      this.#give();
    });
  }
}
