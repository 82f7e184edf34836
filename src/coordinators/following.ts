// What follows from one command, and whether all of it is done.

import { type Cover, type EventBook, type EventPage, typeName } from '../model/book.ts';
import { orderingKey, orderingOf, partitionOf } from '../model/ordering.ts';
import type { Projection, ReactionError, ReactorKind } from '../model/reaction.ts';
import { streamText } from '../model/stream.ts';
import type { ListedOutcome, OutboxRow, SubscriptionDefinition } from '../store.ts';
import { decodeOutcome } from './outcome.ts';
import { projectionOf, type streamOfBook } from './projector.ts';
import type { Round, WaitingParts } from './round.ts';

export type WaitingMode =
  /** For synchronous projectors. */
  | 'simple'
  /** For everything that follows. */
  | 'cascade'
  /** For every reactor of a kind. */
  | ReactorKind;

/** A step that is still parked so long after its first failure ends the wait for its branch. */
const PARKED_ENOUGH_MICROS = 1_000_000;
/** Events that one command may lead to while its caller waits. */
const DESCENDANTS_MAX = 10_000;
const LIST_ROWS = 500;
const READ = { maxEvents: 1000, maxBytes: 1 << 20 };

/** An event whose reactions are waited for. */
interface Followed {
  cover: Cover;
  page: EventPage;
}

/** What follows from one command. */
export class Following {
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
