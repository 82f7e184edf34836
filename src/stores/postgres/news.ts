// Hints between daemons by LISTEN and NOTIFY. Heard on a connection that reads, so it costs none of its own; told in a transaction of its
// own, since commits that carry a notification wait for each other in the whole database. Not behind a pooler, where nobody would hear.

import { randomBytes } from 'node:crypto';
import type { News, NewsTopic } from '../../store.ts';
import type { Connection } from './connect.ts';

const TOPICS: readonly NewsTopic[] = ['events', 'outbox', 'daemons'];

export class PostgresNews implements News {
  /** What this store tells, it does not hear. */
  readonly #own = randomBytes(8).toString('hex');
  readonly #notify: (channel: string, payload: string) => Promise<unknown>;
  readonly #listeners: ((topic: NewsTopic) => void)[] = [];
  #channel: string | undefined;

  constructor(notify: (channel: string, payload: string) => Promise<unknown>) {
    this.#notify = notify;
  }

  async announce(topic: NewsTopic): Promise<void> {
    if (this.#channel !== undefined) await this.#notify(this.#channel, `${topic} ${this.#own}`);
  }

  listen(listener: (topic: NewsTopic) => void): void {
    this.#listeners.push(listener);
  }

  /** From now on, on this connection. What was told while there was none is lost: everybody looks once. */
  async hear(connection: Connection, logId: string): Promise<void> {
    this.#channel = `daybook ${logId}`;
    connection.onNotification((payload) => {
      const [topic, from] = payload.split(' ');
      if (from !== this.#own) this.#tell(TOPICS.filter((known) => known === topic));
    });
    await connection.query({ text: `LISTEN "${this.#channel}"` });
    this.#tell(TOPICS);
  }

  #tell(topics: readonly NewsTopic[]): void {
    for (const topic of topics) for (const listener of this.#listeners) listener(topic);
  }
}
