// A live stream of one order's events, followed in the background.

import type { EventBook } from '@daybook/client';

/** Counts what a stream brings. */
export class Follower {
  events = 0;
  readonly #books: AsyncGenerator<EventBook>;
  readonly #leave: AbortController;
  readonly #ended: Promise<void>;

  constructor(own: EventBook, books: AsyncGenerator<EventBook>, leave: AbortController) {
    this.#leave = leave;
    this.#books = books;
    this.events = own.pages.length;
    this.#ended = this.#follow();
  }

  async #follow(): Promise<void> {
    try {
      for await (const book of this.#books) this.events += book.pages.length;
    } catch (error) {
      if (!this.#leave.signal.aborted) throw error;
    }
  }

  async stop(): Promise<void> {
    this.#leave.abort();
    await this.#ended;
  }
}
