// The aggregates of one stream to Daybook: takes a command, asks the rules, and makes the reply.

import {
  type Aggregate,
  assertComplete,
  type CompleteCommand,
  type DecideContext,
  Rejection,
  rejectionReply,
  States,
} from './aggregate.ts';
import type { Client } from './client.ts';
import { eventsBook } from './fold.ts';
import type { ContextualCommand, HistoryChunk, Work } from './gen/daybook/v1/component.ts';
import type { Any } from './gen/google/protobuf/any.ts';
import type { Begun, Result } from './session.ts';
import { WorkInHand } from './work-in-hand.ts';

/** What it knows of aggregates ends with the stream, because Daybook then begins anew. */
export class Deciding {
  readonly #states: Map<string, States<unknown>>;
  readonly #client: Client;

  constructor(aggregates: readonly Aggregate<unknown>[], client: Client) {
    this.#states = new Map(aggregates.map((aggregate) => [aggregate.domain, new States(aggregate)]));
    this.#client = client;
  }

  chunk(chunk: HistoryChunk): void {
    this.#states.get(chunk.events?.cover?.domain ?? '')?.chunk(chunk);
  }

  /** Of work that was withdrawn before it came. */
  forget(workId: string): void {
    for (const states of this.#states.values()) states.forget(workId);
  }

  /** A decision that is made at once is a result at once, without a promise between. */
  begin(work: Work, command: ContextualCommand): Begun {
    assertComplete(command);
    const { domain } = command.command.cover;
    const states = this.#states.get(domain);
    if (states === undefined) throw new Error(`this host has no aggregate '${domain}'`);
    const held = states.take(command, work.workId);
    if (held === undefined) return { result: { $case: 'needHistory', value: {} } };
    const { aggregate } = states;
    const decision = new Decision(work, command, states, held.next, this.#client);
    const { snapshotWanted } = command;
    const answer = (events: readonly Any[]): Result => ({
      $case: 'command',
      value: {
        result: {
          $case: 'events',
          value: eventsBook(aggregate, held, events, { of: `decide of ${domain}`, snapshotWanted }),
        },
      },
    });
    try {
      const decided = aggregate.decide(held.state, payloadsOf(command), decision);
      return decided instanceof Promise
        ? { result: decided.then(answer).catch(refusal), inHand: decision }
        : { result: answer(decided) };
    } catch (error) {
      return { result: refusal(error) };
    }
  }
}

/** No is an answer; everything else is a failure, which is the session's to tell. */
function refusal(error: unknown): Result {
  if (error instanceof Rejection) return { $case: 'command', value: rejectionReply(error) };
  throw error;
}

class Decision extends WorkInHand implements DecideContext {
  readonly nextSequence: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly idempotencyKey: string;
  readonly #asked: CompleteCommand;
  readonly #states: States<unknown>;

  constructor(work: Work, asked: CompleteCommand, states: States<unknown>, nextSequence: number, client: Client) {
    super(work, asked.command.cover, client);
    this.nextSequence = nextSequence;
    this.metadata = asked.command.metadata;
    this.idempotencyKey = asked.command.idempotencyKey;
    this.#asked = asked;
    this.#states = states;
  }

  /** The handler keeps the state for itself: it is forgotten here, and Daybook will send the history again. */
  override abandon(): void {
    this.#states.forget(this.workId, this.#asked.command.cover);
  }
}

function payloadsOf(command: CompleteCommand): Any[] {
  return command.command.pages.map((page) => page.command!);
}
