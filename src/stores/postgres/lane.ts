// One connection and what waits for it, one after the other. When it is lost it is made anew for whoever comes next; a database that is
// away is asked again after a while that doubles, and until then everybody is told at once.

import type { Connection } from './connect.ts';

const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 2_000;

export class Lane {
  readonly #open: () => Promise<Connection>;
  #connection: Connection | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #failures = 0;
  #failed: { error: unknown; untilMs: number } | undefined;

  constructor(connect: () => Promise<Connection>) {
    this.#open = connect;
  }

  /** Calls under way and waiting. */
  get waiting(): number {
    return this.#waiting;
  }

  /** At once, when nothing is under way: what it sends has left before this returns. */
  run<T>(body: (connection: Connection) => Promise<T>): Promise<T> {
    const result = this.#waiting++ === 0 ? this.#run(body) : this.#last.then(() => this.#run(body));
    this.#last = result.catch(() => {});
    return result;
  }

  async #run<T>(body: (connection: Connection) => Promise<T>): Promise<T> {
    try {
      const connection = this.#connection;
      return await body(connection === undefined || connection.lost ? await this.#connect() : connection);
    } finally {
      this.#waiting--;
    }
  }

  async #connect(): Promise<Connection> {
    this.#connection?.destroy();
    this.#connection = undefined;
    if (this.#failed !== undefined && performance.now() < this.#failed.untilMs) throw this.#failed.error;
    try {
      this.#connection = await this.#open();
      this.#failures = 0;
      this.#failed = undefined;
      return this.#connection;
    } catch (error) {
      const delayMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** this.#failures++);
      this.#failed = { error, untilMs: performance.now() + delayMs };
      throw error;
    }
  }

  /** After what is under way. */
  async close(): Promise<void> {
    await this.#last;
    await this.#connection?.close();
    this.#connection = undefined;
  }
}
