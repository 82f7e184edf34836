// Waiting for reactions, never running them: the sync modes, and reads that must have seen a position. All waits of a daemon share one
// round of looking, soon after something moved here, and every so often for what moved elsewhere.

import { onAbort } from '../abort.ts';
import { asDaybookError, DaybookError } from '../errors.ts';
import { type CommandResponse, type Cover, type EventBook, type EventPage, typeName } from '../model/book.ts';
import { orderingKey, orderingOf, partitionOf } from '../model/ordering.ts';
import type { Projection, ReactionError, ReactorKind } from '../model/reaction.ts';
import { streamText } from '../model/stream.ts';
import type { Runtime, Timer } from '../runtime.ts';
import type {
  ListedOutcome,
  OutboxRow,
  ParkedKey,
  PartitionCursor,
  PartitionKey,
  Store,
  SubscriptionDefinition,
} from '../store.ts';
import { decodeOutcome } from './outcome.ts';
import { projectionOf, type streamOfBook } from './projector.ts';

/** What delivery knows of the partitions that it holds. */
export interface Deliveries {
  /** Called when a cursor moved, a key was parked, or an output went. */
  onProgress(listener: () => void): () => void;
  /** Cursors that may move, move. */
  hurry(): void;
  /** `undefined`: not held here. */
  look(partition: PartitionKey): HeldPartition | undefined;
  storeClock(): number;
}

export interface HeldPartition {
  readonly position: number;
  hasHandled(position: number): boolean;
  parkedKey(key: string): ParkedKey | undefined;
}

export interface WaitingParts {
  store: Store;
  delivery: Deliveries;
  /** Whether an event may have another type by the time that it is handled. */
  mayChange: (domain: string, page: EventPage) => boolean;
  runtime: Runtime;
  limits: { waitingCommands: number };
}

export type WaitingMode =
  /** For synchronous projectors. */
  | 'simple'
  /** For everything that follows. */
  | 'cascade'
  /** For every reactor of a kind. */
  | ReactorKind;

/** Rounds after something moved here, and rounds for what moves elsewhere. */
const SOON_MS = 2;
const POLL_MIN_MS = 20;
const POLL_MAX_MS = 100;
/** A step that is still parked so long after its first failure ends the wait for its branch. */
const PARKED_ENOUGH_MICROS = 1_000_000;
/** Events that one command may lead to while its caller waits. */
const DESCENDANTS_MAX = 10_000;
const LIST_ROWS = 500;
const READ = { maxEvents: 1000, maxBytes: 1 << 20 };

interface Wait {
  /** True: it is over. */
  look(round: Round): Promise<boolean>;
  done: () => void;
}

export class Waiting {
  readonly #parts: WaitingParts;
  readonly #waits = new Set<Wait>();
  #waiting = 0;
  #timer: Timer | undefined;
  #looking = false;
  #pollMs = POLL_MIN_MS;
  #moved = false;

  constructor(parts: WaitingParts) {
    this.#parts = parts;
    parts.delivery.onProgress(() => {
      if (this.#waits.size === 0) return;
      this.#pollMs = POLL_MIN_MS;
      if (this.#moved) return;
      this.#moved = true;
      this.#schedule(SOON_MS);
    });
  }

  /** A place among those who wait. OVERLOADED when there are too many: shed before the command is executed. */
  enter(): { leave(): void } {
    const { waitingCommands } = this.#parts.limits;
    if (this.#waiting >= waitingCommands) {
      throw new DaybookError('OVERLOADED', `${waitingCommands} callers wait for reactions already; try again later`, {
        metadata: { limit: 'waiting_commands' },
        retryDelayMs: 200,
      });
    }
    this.#waiting++;
    let left = false;
    return {
      leave: () => {
        if (!left) this.#waiting--;
        left = true;
      },
    };
  }

  /**
   * Completes the answer of a command with what followed from it, at the latest when the monotonic clock has passed `deadlineMs`: then
   * `settled` is false. What was stored stays stored, so this rejects only with the signal's reason.
   */
  async follow(
    response: CommandResponse,
    mode: WaitingMode,
    deadlineMs: number,
    signal: AbortSignal,
  ): Promise<CommandResponse> {
    const book = response.events!;
    if (book.pages.length === 0) return response;
    const following = new Following(this.#parts, book, mode);
    // The events are stored, whatever the store says now: an error would make callers repeat the command.
    const settled = await this.#until((round) => following.settled(round).catch(unlessAway(false)), deadlineMs, signal);
    const outcome = await following.outcome().catch(unlessAway(undefined));
    return outcome === undefined ? { ...response, settled: false } : { ...response, ...outcome, settled };
  }

  /**
   * Resolves with how far the slowest of the subscriptions has come when all have passed the position; none named: all. Keys that are being
   * tried again hold it up, dead letters do not. Rejects with WAIT_TIMEOUT, or the signal's reason.
   */
  async passed(request: {
    subscriptions: readonly string[];
    position: number;
    deadlineMs: number;
    signal: AbortSignal;
  }): Promise<number> {
    const { subscriptions, position, deadlineMs, signal } = request;
    let slowest = 0;
    const look = async (round: Round) => {
      slowest = await round.slowest(subscriptions, position);
      return slowest >= position;
    };
    const place = this.enter();
    try {
      if (await this.#until(look, deadlineMs, signal)) return slowest;
    } finally {
      place.leave();
    }
    const named = subscriptions.length === 0 ? 'every subscription' : subscriptions.join(', ');
    throw new DaybookError(
      'WAIT_TIMEOUT',
      `${named}: expected to pass position ${position} in time, came to ${slowest}`,
      {
        metadata: { position: slowest },
      },
    );
  }

  /** False: the time is over. */
  async #until(look: Wait['look'], deadlineMs: number, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    this.#parts.delivery.hurry();
    if (await look(new Round(this.#parts))) return true;
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    const wait: Wait = { look, done: () => resolve(true) };
    const leftMs = deadlineMs - this.#parts.runtime.monotonicMs();
    const timer =
      leftMs === Infinity ? undefined : this.#parts.runtime.after(Math.max(0, leftMs), () => resolve(false));
    const ignoreAbort = onAbort(signal, () => reject(signal.reason));
    this.#waits.add(wait);
    this.#schedule(POLL_MIN_MS);
    try {
      return await promise;
    } finally {
      this.#waits.delete(wait);
      timer?.cancel();
      ignoreAbort();
    }
  }

  #schedule(delayMs: number): void {
    if (this.#looking) return;
    this.#timer?.cancel();
    this.#timer = this.#parts.runtime.after(delayMs, () => void this.#round());
  }

  async #round(): Promise<void> {
    this.#looking = true;
    this.#moved = false;
    const round = new Round(this.#parts);
    this.#parts.delivery.hurry();
    for (const wait of [...this.#waits]) {
      // A store that is away is asked again the next time.
      if (await wait.look(round).catch(() => false)) {
        this.#waits.delete(wait);
        wait.done();
      }
    }
    this.#looking = false;
    if (this.#waits.size === 0) return;
    this.#pollMs = Math.min(POLL_MAX_MS, this.#pollMs * 1.5);
    this.#schedule(this.#moved ? SOON_MS : this.#pollMs);
  }
}

/** A store that is away answers nothing now. */
function unlessAway<T>(answer: T): (error: unknown) => T {
  return (error) => {
    if (asDaybookError(error).reason !== 'STORE_UNAVAILABLE') throw error;
    return answer;
  };
}

/** What one round has read, so that waits share it. */
class Round {
  readonly #parts: WaitingParts;
  #definitions: Promise<SubscriptionDefinition[]> | undefined;
  #cursors: Promise<Map<string, PartitionCursor>> | undefined;
  readonly #done = new Map<string, Promise<Set<number>>>();

  constructor(parts: WaitingParts) {
    this.#parts = parts;
  }

  /** Those that readers get: of a projector only its active generation. */
  definitions(): Promise<SubscriptionDefinition[]> {
    this.#definitions ??= this.#readDefinitions();
    return this.#definitions;
  }

  /** Where one event of one subscription stands. */
  async standing(partition: PartitionKey, key: string, position: number): Promise<Standing> {
    const { store, delivery } = this.#parts;
    const held = delivery.look(partition);
    if (held !== undefined) {
      const parked = held.parkedKey(key);
      if (parked !== undefined && parked.state !== 'draining' && position >= parked.position) return parked;
      return held.hasHandled(position) ? 'handled' : 'behind';
    }
    // The cursor first, then what is parked: what moves between the two is seen twice, not missed.
    const cursor = (await this.#allCursors()).get(partitionText(partition));
    const parked = await store.readParked(partition, key);
    if (parked !== undefined && parked.state !== 'draining' && position >= parked.position) return parked;
    if (cursor === undefined) return 'behind';
    if (position <= cursor.position) return 'handled';
    return (await this.#doneOf(partition)).has(position) ? 'handled' : 'behind';
  }

  /** How far all of them have come; none named: all. */
  async slowest(names: readonly string[], position: number): Promise<number> {
    const { store, delivery } = this.#parts;
    const wanted = (await this.definitions()).filter(({ name }) => names.length === 0 || names.includes(name));
    const unknown = names.filter((name) => !wanted.some((definition) => definition.name === name));
    if (unknown.length > 0) {
      throw new DaybookError('INVALID_ARGUMENT', `subscriptions: this log has no subscription ${unknown.join(', ')}`, {
        metadata: { field: 'subscriptions' },
      });
    }
    const cursors = await this.#allCursors();
    let slowest = Infinity;
    for (const { name, generation, partitions } of wanted) {
      for (let partition = 0; partition < partitions; partition++) {
        const key = { subscription: name, generation, partition };
        const at = delivery.look(key)?.position ?? cursors.get(partitionText(key))?.position ?? 0;
        slowest = Math.min(slowest, at);
      }
      if (slowest < position) continue;
      for (const row of await store.listParked({ subscription: name, state: 'retrying', limit: LIST_ROWS })) {
        if (row.partition.generation === generation) slowest = Math.min(slowest, row.position - 1);
      }
    }
    return slowest === Infinity ? position : slowest;
  }

  async #readDefinitions(): Promise<SubscriptionDefinition[]> {
    const { store } = this.#parts;
    const all = await store.listSubscriptions();
    const names = new Set(all.filter(({ kind }) => kind === 'projector').map(({ name }) => name));
    const active = new Map<string, number>();
    for (const name of names) active.set(name, await store.activeGeneration(name));
    return all.filter(({ name, generation }) => !names.has(name) || active.get(name) === generation);
  }

  #allCursors(): Promise<Map<string, PartitionCursor>> {
    this.#cursors ??= this.#parts.store
      .listCursors()
      .then((cursors) => new Map(cursors.map((cursor) => [partitionText(cursor), cursor])));
    return this.#cursors;
  }

  #doneOf(partition: PartitionKey): Promise<Set<number>> {
    const text = partitionText(partition);
    let done = this.#done.get(text);
    if (done === undefined) {
      done = this.#parts.store.listDone(partition).then((positions) => new Set(positions));
      this.#done.set(text, done);
    }
    return done;
  }
}

/** The key is parked, at or before the event; or it is not. */
type Standing = 'handled' | 'behind' | ParkedKey;

/** An event whose reactions are waited for. */
interface Followed {
  cover: Cover;
  page: EventPage;
}

/** What follows from one command. */
class Following {
  readonly #parts: WaitingParts;
  readonly #mode: WaitingMode;
  readonly #tenant: string;
  readonly #correlationId: string;
  readonly #events: Followed[];
  readonly #positions: Set<number>;
  /** The log was looked through for descendants up to here. */
  #through: number;
  /** Of projectors whose rows belong to the answer. */
  #projectors: SubscriptionDefinition[] = [];
  /** Of keys that are parked, and of outputs. */
  #errors: ReactionError[] = [];
  #sentErrors: ReactionError[] = [];

  constructor(parts: WaitingParts, book: EventBook, mode: WaitingMode) {
    const { tenant, correlationId } = book.cover!;
    this.#parts = parts;
    this.#mode = mode;
    this.#tenant = tenant;
    this.#correlationId = correlationId;
    this.#events = book.pages.map((page) => ({ cover: book.cover!, page }));
    this.#positions = new Set(book.pages.map(({ position }) => position));
    this.#through = book.pages.at(-1)!.position;
  }

  /** Cursors and parked keys first, then the outbox, then the log: a descendant found there starts it anew. */
  async settled(round: Round): Promise<boolean> {
    const definitions = (await round.definitions()).filter((definition) => this.#waitsFor(definition));
    this.#projectors = definitions.filter(({ kind }) => kind === 'projector');
    this.#errors = [];
    for (let next = 0; ; ) {
      for (; next < this.#events.length; next++) {
        for (const definition of definitions) {
          if (!(await this.#handled(this.#events[next]!, definition, round))) return false;
        }
      }
      if (this.#mode !== 'cascade') return true;
      if (!(await this.#sent())) return false;
      if (!(await this.#descend())) return true;
      // Events that came meanwhile; what was handled stays handled.
    }
  }

  async outcome(): Promise<{ projections: Projection[]; reactionErrors: ReactionError[] }> {
    const { store } = this.#parts;
    const streams = new Map<string, { stream: ReturnType<typeof streamOfBook>; from: number }>();
    for (const { cover, page } of this.#events) {
      const stream = { tenant: cover.tenant, domain: cover.domain, root: cover.root!.value };
      const text = streamText(stream);
      if (!streams.has(text)) streams.set(text, { stream, from: page.position });
    }
    const projections: Projection[] = [];
    for (const { name: projector, generation } of this.#projectors) {
      for (const of of streams.values()) {
        const rows = await store.projectionsOf({ ...of, projector, generation, limit: LIST_ROWS });
        projections.push(...rows.map(projectionOf));
      }
    }
    return { projections, reactionErrors: [...this.#errors, ...this.#sentErrors] };
  }

  #waitsFor({ kind, sync, paused }: SubscriptionDefinition): boolean {
    if (kind === 'relay' || kind === 'stream') return false;
    if (this.#mode === 'simple') return !paused && kind === 'projector' && sync;
    return !paused && (this.#mode === 'cascade' || this.#mode === kind);
  }

  async #handled({ cover, page }: Followed, definition: SubscriptionDefinition, round: Round): Promise<boolean> {
    const { name: subscription, generation, kind, domains, types, partitions, startAfter } = definition;
    if (domains.length > 0 && !domains.includes(cover.domain)) return true;
    const wanted = types.length === 0 || types.includes(typeName(page.event!.typeUrl));
    if (!wanted && !this.#parts.mayChange(cover.domain, page)) return true;
    if (page.position <= startAfter) return true;
    const ordering = orderingOf(kind as ReactorKind, kind === 'projector' && partitions === 1);
    const partition = { subscription, generation, partition: partitionOf(ordering, cover, partitions) };
    const standing = await round.standing(partition, orderingKey(ordering, cover), page.position);
    if (standing === 'handled') return true;
    if (standing === 'behind' || !this.#longEnough(standing.parkedAtMicros, standing.state)) return false;
    // One entry for a key, however many of its events wait.
    const known = this.#errors.some(
      (error) => error.component === subscription && error.sourcePosition === standing.position,
    );
    const { reason, message, position } = standing;
    if (!known) {
      const source = this.#events.find((event) => event.page.position === position) ?? { cover, page };
      this.#errors.push({
        component: subscription,
        target: undefined,
        reason,
        message,
        source: source.cover,
        sourceSequence: source.page.sequence,
        sourcePosition: position,
      });
    }
    return true;
  }

  #longEnough(sinceMicros: number, state: string): boolean {
    return state === 'dead' || this.#parts.delivery.storeClock() - sinceMicros >= PARKED_ENOUGH_MICROS;
  }

  /** No output of these events is on its way; those that failed or were rejected are entries. */
  async #sent(): Promise<boolean> {
    const { store } = this.#parts;
    const correlation = { tenant: this.#tenant, correlationId: this.#correlationId };
    this.#sentErrors = [];
    for (let after: OutboxRow | undefined; ; ) {
      const rows = await store.listOutbox({ correlation, limit: LIST_ROWS, ...(after && { after }) });
      for (const row of rows) {
        if (!this.#positions.has(row.position)) continue;
        // Since its first failure, as far as the row tells: since it was made.
        if (row.state !== 'dead' && (row.attempts === 0 || !this.#longEnough(row.createdAtMicros, row.state)))
          return false;
        this.#sentErrors.push(
          this.#errorOf(row.position, { ...row, component: row.subscription, target: coverOf(row) }),
        );
      }
      if (rows.length < LIST_ROWS) break;
      after = rows.at(-1)!;
    }
    for (let after: ListedOutcome | undefined; ; ) {
      const outcomes = await store.listOutcomes({ ...correlation, limit: LIST_ROWS, ...(after && { after }) });
      for (const { kind, body: stored } of outcomes) {
        const body = decodeOutcome(stored);
        if (kind !== 'reaction' || body.kind !== 'rejection' || body.origin === undefined) continue;
        const { component, sourcePosition } = body.origin;
        if (!this.#positions.has(sourcePosition)) continue;
        const { code, message } = body.rejection;
        const said = code === '' ? message : `${code}: ${message}`;
        const rejected = { component, target: body.cover, reason: 'REJECTED', message: said };
        this.#sentErrors.push(this.#errorOf(sourcePosition, rejected));
      }
      if (outcomes.length < LIST_ROWS) return true;
      after = outcomes.at(-1)!;
    }
  }

  #errorOf(
    position: number,
    {
      component,
      target,
      reason,
      message,
    }: { component: string; target: Cover | undefined; reason: string; message: string },
  ): ReactionError {
    const source = this.#events.find((event) => event.page.position === position);
    return {
      component,
      target,
      reason,
      message,
      source: source?.cover,
      sourceSequence: source?.page.sequence ?? 0,
      sourcePosition: position,
    };
  }

  /** True: events were found that these have caused. */
  async #descend(): Promise<boolean> {
    const before = this.#events.length;
    const filter = { tenant: this.#tenant, correlationId: this.#correlationId };
    for (;;) {
      const after = this.#through;
      const read = await this.#parts.store.readLog({ after, filter, ...READ });
      for (const { cover, pages } of read.books) {
        for (const page of pages) {
          const { sourcePosition = 0 } = page.origin ?? {};
          if (!this.#positions.has(sourcePosition) || this.#events.length >= DESCENDANTS_MAX) continue;
          this.#events.push({ cover: cover!, page });
          this.#positions.add(page.position);
        }
      }
      this.#through = read.through;
      if (read.through === after) return this.#events.length > before;
    }
  }
}

function coverOf({ target, correlationId }: OutboxRow): Cover {
  const { tenant, domain, root } = target;
  return { root: { value: root }, domain, tenant, correlationId };
}

function partitionText({ subscription, generation, partition }: PartitionKey): string {
  return `${subscription} ${generation} ${partition}`;
}
