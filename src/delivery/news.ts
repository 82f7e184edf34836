// Tells the other daemons of the log that there is something new, beside what is committed and not within it. A hint: at once when nothing
// was told for a while, else soon, once for all that happened meanwhile.

import type { Runtime, Timer } from '../runtime.ts';
import type { News, NewsTopic } from '../store.ts';

/** Under load others read what is new anyhow; somebody waits for what is in the outbox. */
const EVERY_MS: Record<NewsTopic, number> = { events: 100, outbox: 10, daemons: 100 };

export class Announcer {
  readonly #news: News | undefined;
  readonly #runtime: Runtime;
  readonly #alone: () => boolean;
  readonly #told = new Map<NewsTopic, number>();
  readonly #timers = new Map<NewsTopic, Timer>();
  #stopped = false;

  /** `alone`: there is nobody to tell. */
  constructor(news: News | undefined, runtime: Runtime, alone: () => boolean) {
    this.#news = news;
    this.#runtime = runtime;
    this.#alone = alone;
  }

  announce(topic: NewsTopic): void {
    if (this.#news === undefined || this.#stopped || this.#timers.has(topic) || this.#alone()) return;
    const waitMs = (this.#told.get(topic) ?? -Infinity) + EVERY_MS[topic] - this.#runtime.monotonicMs();
    if (waitMs <= 0) return this.#tell(topic);
    this.#timers.set(
      topic,
      this.#runtime.after(waitMs, () => this.#tell(topic)),
    );
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers.values()) timer.cancel();
  }

  #tell(topic: NewsTopic): void {
    this.#timers.delete(topic);
    this.#told.set(topic, this.#runtime.monotonicMs());
    // Lost with a store that is away: the others look anyhow.
    void this.#news?.announce(topic).catch(() => {});
  }
}
