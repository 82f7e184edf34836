// One attach stream: a component has introduced itself and receives its work here.

import type { Deadlines } from '../deadlines.ts';
import { DaybookError, invalid } from '../errors.ts';
import type { ComponentMessage, Hello, Reply } from '../gen/daybook/v1/component.ts';
import { DOMAIN } from '../model/validation.ts';
import type { Runtime } from '../runtime.ts';
import { AttachedAggregate } from './attached-aggregate.ts';
import { AttachedReactor } from './attached-reactor.ts';
import { AttachedUpcaster, type UpcastingLimits } from './attached-upcaster.ts';
import { declarationsOf } from './declarations.ts';
import type { Outbox } from './outbox.ts';

export const PROTOCOL_VERSION = 1;

export class Attachment {
  /** Counts up in this process; tells the hosts of a domain apart. */
  readonly id: number;
  readonly hello: Hello;
  readonly aggregates: readonly AttachedAggregate[];
  readonly upcasters: readonly AttachedUpcaster[];
  readonly reactors: readonly AttachedReactor[];
  readonly #outbox: Outbox;
  /** The component is going, or we are: no new work. */
  #draining = false;
  /** Replies to work that was withdrawn, that somebody else's, or that never was. */
  #lateReplies = 0;

  /** Throws INVALID_ARGUMENT when the introduction cannot be accepted. */
  constructor(
    id: number,
    hello: Hello,
    outbox: Outbox,
    runtime: Runtime,
    deadlines: Deadlines,
    limits: UpcastingLimits,
  ) {
    checkHello(hello);
    this.id = id;
    this.hello = hello;
    this.#outbox = outbox;
    const late = () => {
      this.#lateReplies++;
    };
    this.aggregates = hello.aggregates.map(
      (hosting) => new AttachedAggregate(hosting, outbox, runtime, deadlines, late),
    );
    this.upcasters = hello.upcasters.map(
      (hosting) => new AttachedUpcaster(hosting, outbox, runtime, deadlines, limits, late),
    );
    this.reactors = declarationsOf(hello).map(
      ({ declaration, credits }) => new AttachedReactor(declaration, credits, outbox, deadlines, late),
    );
  }

  get draining(): boolean {
    return this.#draining;
  }

  get lateReplies(): number {
    return this.#lateReplies;
  }

  /** INVALID_ARGUMENT when the order of the stream is broken. */
  receive(message: ComponentMessage): void {
    if (message.hello !== undefined) throw invalid('hello', 'hello: a stream begins with one Hello, found another');
    for (const reply of message.replies) this.#receiveReply(reply);
    if (message.drain !== undefined) this.#draining = true;
  }

  /** Daybook is stopping, and everything that it waited for is done: says so and ends the stream. */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    await this.#outbox.drain(timeoutMs);
  }

  close(): void {
    for (const reactor of this.reactors) reactor.close();
    for (const upcaster of this.upcasters) upcaster.close();
    for (const aggregate of this.aggregates) {
      aggregate.close(
        new DaybookError(
          'COMPONENT_UNAVAILABLE',
          `${aggregate.domain}: the component went away with the work in hand`,
          {
            metadata: { component: aggregate.domain },
            retryDelayMs: 200,
          },
        ),
      );
    }
  }

  #receiveReply(reply: Reply): void {
    const has = (lane: { has(workId: string): boolean }) => lane.has(reply.workId);
    const owner = this.aggregates.find(has) ?? this.upcasters.find(has) ?? this.reactors.find(has);
    if (owner !== undefined) return owner.reply(reply);
    this.#lateReplies++;
    this.#outbox.notice(
      reply.workId,
      'UNKNOWN_WORK',
      `no work ${JSON.stringify(reply.workId)} is in hand on this stream`,
    );
  }
}

function checkHello(hello: Hello): void {
  if (hello.protocolVersion !== PROTOCOL_VERSION) {
    throw invalid(
      'hello.protocol_version',
      `hello.protocol_version: expected ${PROTOCOL_VERSION}, found ${hello.protocolVersion}`,
    );
  }
  const reactors = hello.projectors.length + hello.sagas.length + hello.processManagers.length;
  if (hello.aggregates.length + hello.upcasters.length + reactors === 0) {
    throw invalid('hello', 'hello: expected something to host, found nothing');
  }
  checkDomains('hello.aggregates.domain', hello.aggregates);
  checkDomains('hello.upcasters.domain', hello.upcasters);
}

function checkDomains(field: string, hosted: readonly { domain: string }[]): void {
  const seen = new Set<string>();
  for (const { domain } of hosted) {
    if (!DOMAIN.test(domain)) {
      throw invalid(field, `${field}: expected ${DOMAIN.source}, found ${JSON.stringify(domain)}`);
    }
    if (seen.has(domain)) throw invalid(field, `${field}: ${domain} is there twice`);
    seen.add(domain);
  }
}
