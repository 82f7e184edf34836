// Somebody on the daemon that is fuzzed: an aggregate's host, reactors, a live stream and commands. They notice nothing.

import assert from 'node:assert/strict';
import { attach, type Host, packJson } from '@daybook/client';
import type { CommandResponse, EventBook } from '../../src/model/book.ts';
import { any, command, newRoot, textOf } from '../support/books.ts';
import { TestClient, type TestHost } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { hostAccount } from '../support/hosting.ts';

/** A small message limit, so that what exceeds it is cheap to send. */
export const FUZZED_LIMITS = {
  DAYBOOK__LIMITS__MESSAGE_BYTES: '262144',
  DAYBOOK__LIMITS__EVENT_BYTES_PER_REPLY: '262144',
};

export class Bystander implements AsyncDisposable {
  readonly #client: TestClient;
  readonly #host: TestHost;
  readonly #reactors: Host;
  /** What its stream has seen: its deposits, 0, 1, 2 … */
  #seen = 0;
  #fault: string | undefined;

  private constructor(client: TestClient, host: TestHost, reactors: Host) {
    this.#client = client;
    this.#host = host;
    this.#reactors = reactors;
  }

  static async on(address: string): Promise<Bystander> {
    const client = new TestClient(address);
    const host = client.attach();
    await hostAccount(host);
    const reactors = attach({
      address,
      name: 'reactors',
      onEvent: () => {},
      projectors: [{ name: 'rows', project: () => [{ payload: packJson('Row', 1) }] }],
      sagas: [{ name: 'silent', react: () => [] }],
    });
    await reactors.ready();
    const bystander = new Bystander(client, host, reactors);
    await bystander.#follow();
    return bystander;
  }

  async #follow(): Promise<void> {
    const stream = this.#client.serverStream<EventBook>('gateway.executeStream', this.#deposit(0));
    stream.on('data', (book: EventBook) => {
      for (const { event } of book.pages) {
        if (textOf(event) !== String(this.#seen)) this.#fault ??= `${textOf(event)} came after ${this.#seen} deposits`;
        this.#seen++;
      }
    });
    await eventually('the bystander follows', () => this.#seen === 1);
  }

  #deposit(amount: number) {
    return command(newRoot(), any('Deposit', String(amount)), { correlationId: 'bystander' });
  }

  /** Its host, stream and commands go on as if nothing had been. */
  async untouched(what: string): Promise<void> {
    const before = this.#seen;
    const answer = await this.#client.unary<CommandResponse>('gateway.execute', this.#deposit(before));
    assert.equal(answer.duplicate, false);
    await eventually(`the bystander's stream goes on after ${what}`, () => this.#seen > before);
    assert.equal(this.#fault, undefined);
    assert.equal(this.#host.ended, undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
    await this.#reactors.close();
  }
}
