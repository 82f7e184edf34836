// What your code says about the aggregates of a domain, and the states that a host keeps of them.

import { before, type Folding, fold, type Held } from './fold.ts';
import type { BusinessResponse, ContextualCommand, HistoryChunk } from './gen/daybook/v1/component.ts';
import {
  type CommandBook,
  type Cover,
  type EventBook,
  RejectionKind,
  type Rejection as RejectionMessage,
} from './gen/daybook/v1/types.ts';
import type { Any } from './gen/google/protobuf/any.ts';
import type { WorkContext } from './work-in-hand.ts';

/** The rules of one kind of aggregate. `S` is its state, in whatever shape serves the decisions. */
export interface Aggregate<S> extends Folding<S> {
  domain: string;

  /**
   * What happens, given what happened: the events in order, or none. Throw a `Rejection` to say no; anything else that is thrown
   * is a failure, and nothing is recorded. May be asynchronous. Must not change the state: its events may lose to
   * others, and come back through `evolve` when they are stored.
   *
   * Usually `commands` has one member. Several were sent to be decided together: all of them or none.
   */
  decide(state: S, commands: readonly Any[], context: DecideContext): readonly Any[] | Promise<readonly Any[]>;

  /** Whether states are kept between commands, so that only new events travel. Default: true. */
  keepsState?: boolean;
  /** How many states are kept; those used least recently go first. Default: 10,000. */
  maxStates?: number;
  /** How much work may be in hand at once. Default: 64 items, 16 MiB. */
  credits?: { items: number; bytes: number };
}

/** What surrounds a decision: domain, root and the rest are those of the aggregate and its command. */
export interface DecideContext extends WorkContext {
  /** The sequence that the first event of this decision will get: 0 for a new aggregate. */
  readonly nextSequence: number;
  /** Of the command. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly idempotencyKey: string;
}

export type RejectionKindName = 'invalid' | 'conflict' | 'not-found' | 'denied';

/** Throw it from `decide` to say no. It is recorded, and the caller gets it as `Rejected`. */
export class Rejection extends Error {
  override name = 'Rejection';
  readonly code: string;
  readonly kind: RejectionKindName;
  readonly details: Any | undefined;
  readonly page: number;

  /**
   * `code` is for programs, in your domain's own words. The kind says why: the state forbids it (`conflict`, the default), the
   * command makes no sense whatever the state (`invalid`), what it is about does not exist (`not-found`), or the
   * caller may not (`denied`). `page` is the index of the refused command when several were sent together.
   */
  constructor(
    code: string,
    message: string,
    options: { kind?: RejectionKindName; details?: Any; page?: number; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.kind = options.kind ?? 'conflict';
    this.details = options.details;
    this.page = options.page ?? 0;
  }
}

/**
 * The states of one domain, as far as one stream to Daybook has told them. Folds only what Daybook sent: events that `decide`
 * returned may never be stored, and when they are, they come with the next command.
 */
export class States<S> {
  readonly aggregate: Aggregate<S>;
  readonly #limit: number;
  /** In order of use: the first is the one used least recently. */
  readonly #held = new Map<string, Held<S>>();
  /** By work id: histories that arrive in chunks, before their work. */
  readonly #arriving = new Map<string, Held<S> | FoldError>();

  constructor(aggregate: Aggregate<S>) {
    this.aggregate = aggregate;
    this.#limit = aggregate.keepsState === false ? 0 : (aggregate.maxStates ?? 10_000);
  }

  chunk(chunk: HistoryChunk): void {
    const book = chunk.events!;
    const begun = this.#arriving.get(chunk.workId);
    if (begun instanceof FoldError) return;
    try {
      const held = chunk.first
        ? before(this.aggregate)
        : (begun ?? fail(`a chunk of work ${chunk.workId} came before its first`));
      this.#fold(held, book);
      this.#arriving.set(chunk.workId, held);
    } catch (error) {
      // Told when the work comes: a chunk itself has no answer.
      this.#arriving.set(chunk.workId, new FoldError(error));
    }
  }

  /** The state to decide on, with the pages of the work folded in. Undefined: the history is needed. Throws what `evolve` threw. */
  take(work: ContextualCommand, workId: string): Held<S> | undefined {
    const book = work.events!;
    const key = keyOf(work.command!.cover!);
    const arrived = this.#arriving.get(workId);
    this.#arriving.delete(workId);
    if (arrived instanceof FoldError) throw arrived.cause;
    // A history that was only lent: what is held stays as it is.
    if (work.dryRun) return this.#fold(arrived ?? before(this.aggregate), book);
    let held = arrived ?? (work.baseSequence === 0 ? before(this.aggregate) : this.#held.get(key));
    // What cannot be folded to the end is not kept.
    this.#held.delete(key);
    if (held === undefined) return undefined;
    if (arrived === undefined && held.next !== work.baseSequence) return undefined;
    held = this.#fold(held, book);
    if (this.#limit > 0) {
      this.#held.set(key, held);
      if (this.#held.size > this.#limit) this.#held.delete(this.#held.keys().next().value!);
    }
    return held;
  }

  /** For work that was withdrawn before it came, or whose handler will not let go of the state. */
  forget(workId: string, of?: Cover): void {
    this.#arriving.delete(workId);
    if (of !== undefined) this.#held.delete(keyOf(of));
  }

  #fold(held: Held<S>, book: EventBook): Held<S> {
    return fold(this.aggregate, held, book, this.aggregate.domain);
  }
}

export function rejectionReply(rejection: Rejection): BusinessResponse {
  const value: RejectionMessage = {
    kind: KINDS[rejection.kind],
    code: rejection.code,
    message: rejection.message,
    details: rejection.details,
    page: rejection.page,
  };
  return { result: { $case: 'rejection', value } };
}

/** For a command that arrived without the parts that Daybook always sends. */
export function assertComplete(work: ContextualCommand): asserts work is CompleteCommand {
  if (work.events === undefined || work.command?.cover?.root === undefined) {
    fail('the work has no history, no command or no root');
  }
}

export type CompleteCommand = ContextualCommand & {
  events: EventBook;
  command: CommandBook & { cover: Cover & { root: { value: Uint8Array } } };
};

function keyOf(of: Cover): string {
  const root = of.root!.value;
  return `${of.tenant}/${Buffer.from(root.buffer, root.byteOffset, root.byteLength).toString('hex')}`;
}

function fail(message: string): never {
  throw new Error(message);
}

class FoldError {
  readonly cause: unknown;
  constructor(cause: unknown) {
    this.cause = cause;
  }
}

const KINDS: Readonly<Record<RejectionKindName, 1 | 2 | 3 | 4>> = {
  invalid: RejectionKind.REJECTION_KIND_INVALID,
  conflict: RejectionKind.REJECTION_KIND_CONFLICT,
  'not-found': RejectionKind.REJECTION_KIND_NOT_FOUND,
  denied: RejectionKind.REJECTION_KIND_DENIED,
};
