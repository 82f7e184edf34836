// What could not be delivered: parked keys of subscriptions, and outputs in the outbox that failed. People look at them, have them tried
// again, or give them up. Only rows are changed here, by their version; whoever holds the lease acts.

import { KeyReader } from '../delivery/key-reader.ts';
import type { DeliveryLog } from '../delivery/parts.ts';
import type { Reading } from '../delivery/reading.ts';
import { commitStubbornly, Fenced } from '../delivery/units.ts';
import { DaybookError, invalid } from '../errors.ts';
import { type CommandBook, type Cover, type EventBook, type EventPage, typeName } from '../model/book.ts';
import { type Ordering, orderingOf, placeOf } from '../model/ordering.ts';
import type { ReactorKind } from '../model/reaction.ts';
import type { Runtime } from '../runtime.ts';
import type { OutboxKey, OutboxRow, ParkedKey, PartitionKey, Store, SubscriptionDefinition, Unit } from '../store.ts';
import type { Bodies } from './bodies.ts';
import type { Caller } from './caller.ts';
import type { Committer } from './committer.ts';
import { unknownName } from './projections.ts';
import { emptyWork } from './reaction.ts';
import type { UpcastingReads } from './upcasting.ts';

export interface DeadLettersParts {
  store: Store;
  reads: UpcastingReads;
  bodies: Bodies;
  committer: Pick<Committer, 'commit'>;
  runtime: Runtime;
  log: DeliveryLog;
  reading: Reading;
  /** Microseconds since 1970, as the store counts them. */
  storeClock: () => number;
  /** Parked keys or outputs of this subscription were changed. */
  replayed(subscription: string): Promise<void>;
}

export type DeadLetterId =
  | { kind: 'parked'; partition: PartitionKey; key: string }
  | { kind: 'outbox'; outbox: OutboxKey };

export interface DeadLetter {
  id: DeadLetterId;
  subscription: string;
  generation: number;
  state: 'retrying' | 'dead' | 'draining';
  key: Cover | undefined;
  event: EventBook | undefined;
  command: CommandBook | undefined;
  position: number;
  attempts: number;
  parkedAtMicros: number;
  /** `undefined`: it waits for people. */
  nextAttemptAtMicros: number | undefined;
  reason: string;
  message: string;
  waiting: number;
}

export interface DeadLetterFilter {
  /** Empty: all. */
  subscription: string;
  state: DeadLetter['state'] | undefined;
  /** `undefined`: all. */
  tenant: string | undefined;
}

type Found = { id: Extract<DeadLetterId, { kind: 'parked' }>; row: ParkedKey } | { id: OutboxId; row: OutboxRow };
type OutboxId = Extract<DeadLetterId, { kind: 'outbox' }>;

/** Rows that one call looks at. */
const LOOK_ROWS = 10_000;
const LIST_ROWS = 200;
const WAITING_MAX = 1000;
/** Of somebody who changes the same row meanwhile. */
const TRIES = 10;

export class DeadLettersCoordinator {
  readonly #parts: DeadLettersParts;

  constructor(parts: DeadLettersParts) {
    this.#parts = parts;
  }

  /** Parked keys, then outputs. A page ends early when many rows had to be passed over: `next` says whether there is more. */
  async list(
    filter: DeadLetterFilter,
    { after, size }: { after: DeadLetterId | undefined; size: number },
  ): Promise<{ deadLetters: DeadLetter[]; next: DeadLetterId | undefined; total: number }> {
    const definitions = await this.#definitions(filter.subscription);
    const deadLetters: DeadLetter[] = [];
    let next: DeadLetterId | undefined;
    let looked = 0;
    for await (const { id, found } of this.#rows(filter, after)) {
      if (found !== undefined && (await this.#isOf(filter, found, definitions))) {
        if (deadLetters.length === size) {
          next = deadLetters.at(-1)!.id;
          break;
        }
        deadLetters.push(this.#show(found, definitions));
      }
      if (++looked === LOOK_ROWS) {
        next = id;
        break;
      }
    }
    return { deadLetters, next, total: await this.#total(filter, definitions) };
  }

  /** NOT_FOUND when it is not there any more. */
  async get(id: DeadLetterId): Promise<DeadLetter> {
    const found = await this.#read(id);
    const definitions = await this.#definitions('');
    const shown = this.#show(found, definitions);
    if (isOutput(found)) return { ...shown, waiting: await this.#behind(found.row) };
    const [first, ...others] = await this.#waiting(found.row, definitions, WAITING_MAX + 1);
    if (first === undefined) return shown;
    return { ...shown, event: await this.#readable(first), waiting: others.length };
  }

  /** Tried again from the event that failed, as if for the first time. */
  async replay(id: DeadLetterId, caller: Caller): Promise<void> {
    await this.#change(id, caller, (found) => this.#replayed(found));
    await this.#parts.replayed(subscriptionOf(id));
  }

  /** Everything of a subscription that may be replayed. Returns how many. */
  async replayAll(subscription: string, caller: Caller): Promise<number> {
    await this.#definitions(subscription);
    let replayed = 0;
    const filter = { subscription, state: undefined, tenant: undefined };
    const one = async (id: DeadLetterId) => {
      try {
        await this.#change(id, caller, (found) => this.#replayed(found));
        replayed++;
      } catch (error) {
        // Gone, or catching up, meanwhile.
        if (!(error instanceof DaybookError) || !['NOT_FOUND', 'INVALID_ARGUMENT'].includes(error.reason)) throw error;
      }
    };
    let batch: DeadLetterId[] = [];
    // None begins before all can be waited for: a failure that nobody listens to would end the daemon.
    const replayBatch = async () => {
      await Promise.all(batch.map(one));
      batch = [];
    };
    for await (const { id, found } of this.#rows(filter, undefined)) {
      caller.signal.throwIfAborted();
      if (found === undefined || stateOf(found) === 'draining') continue;
      batch.push(id);
      if (batch.length >= LIST_ROWS) await replayBatch();
    }
    await replayBatch();
    await this.#parts.replayed(subscription);
    return replayed;
  }

  /** The event, or the output, that failed is given up, for good; what waits behind it goes on. */
  async discard(id: DeadLetterId, reason: string, caller: Caller): Promise<void> {
    const definitions = await this.#definitions('');
    const row = await this.#change(id, caller, async (found) => {
      if (isOutput(found)) return undefined;
      const again = this.#replayed(found);
      const [event] = await this.#waiting(found.row, definitions, 1);
      if (event === undefined) {
        throw notFound('nothing of this key has failed and is still to be handled: there is nothing to discard');
      }
      const next = { position: event.pages[0]!.position + 1, reason: '', message: '' };
      return { ...again, ...next } as ParkedKey;
    });
    const { subscription, generation, position, attempts } = row;
    const what = id.kind === 'parked' ? { key: id.key } : { index: id.outbox.index };
    this.#parts.log.warn(
      { subscription, generation, position, ...what, attempts, failed: row.message, reason },
      id.kind === 'parked' ? 'an event that failed was discarded' : 'an output that failed was discarded',
    );
    await this.#parts.replayed(subscription);
  }

  #replayed(found: Found): ParkedKey | OutboxRow {
    if (stateOf(found) === 'draining') {
      throw invalid('id', 'id: it has succeeded and catches up with what came meanwhile: nothing waits for a replay');
    }
    const due = { attempts: 0, dueAtMicros: Math.round(this.#parts.storeClock()) };
    return isOutput(found) ? { ...found.row, state: 'ready', ...due } : { ...found.row, state: 'retrying', ...due };
  }

  /** Until nobody else has changed the row meanwhile. Returns it as it was. */
  async #change(
    id: DeadLetterId,
    { signal }: Caller,
    changed: (found: Found) => ParkedKey | OutboxRow | undefined | Promise<ParkedKey | undefined>,
  ): Promise<{ subscription: string; generation: number; position: number; attempts: number; message: string }> {
    for (let tries = 1; ; tries++) {
      const found = await this.#read(id);
      const row = await changed(found);
      const work = emptyWork();
      const { version } = found.row;
      if (isOutput(found)) {
        work.outboxChanged.push({ key: found.row, version, row: row as OutboxRow | undefined });
      } else {
        const { partition, key } = found.row;
        work.parked.push({ partition, key, version, row: row as ParkedKey });
      }
      const unit: Unit = {
        unitId: this.#parts.runtime.uuid(),
        appends: [],
        expectations: [],
        snapshots: [],
        outcomes: [],
        work,
      };
      try {
        await commitStubbornly(this.#parts, unit, signal);
        const { generation } = isOutput(found) ? found.row : found.row.partition;
        const { position, attempts, message } = found.row;
        return { subscription: subscriptionOf(id), generation, position, attempts, message };
      } catch (error) {
        if (!(error instanceof Fenced)) throw error;
        if (tries === TRIES) {
          throw new DaybookError('CONTENTION', 'the dead letter is being tried again right now', {
            metadata: { attempts: tries },
            retryDelayMs: 100,
          });
        }
      }
    }
  }

  async #read(id: DeadLetterId): Promise<Found> {
    const { store } = this.#parts;
    if (id.kind === 'parked') {
      const row = await store.readParked(id.partition, id.key);
      if (row !== undefined) return { id, row };
    } else {
      const row = await store.readOutbox(id.outbox);
      if (row !== undefined && hasFailed(row)) return { id, row };
    }
    throw notFound('there is no such dead letter, or not any more');
  }

  async #definitions(subscription: string): Promise<SubscriptionDefinition[]> {
    const definitions = await this.#parts.store.listSubscriptions();
    if (subscription !== '' && !definitions.some(({ name }) => name === subscription)) {
      throw unknownName(
        'subscription',
        subscription,
        definitions.map(({ name }) => name),
      );
    }
    return definitions;
  }

  /** Parked keys, then outputs; `found: undefined` is a row that has not failed, so that whoever reads can stop there. */
  async *#rows(
    { subscription, state }: DeadLetterFilter,
    after: DeadLetterId | undefined,
  ): AsyncGenerator<{ id: DeadLetterId; found: Found | undefined }, void, void> {
    const { store } = this.#parts;
    const of = { ...(subscription !== '' && { subscription }), limit: LIST_ROWS };
    if (after?.kind !== 'outbox') {
      for (let last: Parameters<Store['listParked']>[0]['after'] = after; ; ) {
        const rows = await store.listParked({ ...of, ...(state && { state }), ...(last && { after: last }) });
        for (const row of rows) {
          const id = { kind: 'parked', partition: partitionKey(row.partition), key: row.key } as const;
          yield { id, found: { id, row } };
        }
        if (rows.length < LIST_ROWS) break;
        last = rows.at(-1)!;
      }
    }
    if (state === 'draining') return;
    const dead = state === 'dead' ? { state } : {};
    for (let last: OutboxKey | undefined = after?.kind === 'outbox' ? after.outbox : undefined; ; ) {
      const rows = await store.listOutbox({ ...of, ...dead, ...(last && { after: last }) });
      for (const row of rows) {
        const id = { kind: 'outbox', outbox: outboxKey(row) } as const;
        const wanted = hasFailed(row) && (state === undefined || state === stateOf({ id, row }));
        yield { id, found: wanted ? { id, row } : undefined };
      }
      if (rows.length < LIST_ROWS) break;
      last = rows.at(-1)!;
    }
  }

  async #isOf(
    { tenant }: DeadLetterFilter,
    found: Found,
    definitions: readonly SubscriptionDefinition[],
  ): Promise<boolean> {
    if (tenant === undefined) return true;
    if (isOutput(found)) return found.row.target.tenant === tenant;
    const { row } = found;
    const place = placeOf(orderingBy(row, definitions), row.key);
    if (place.ordering === 'stream') return place.stream.tenant === tenant;
    if (place.ordering === 'correlation') return place.tenant === tenant;
    // Held up as a whole, by an event of one tenant.
    const [first] = await this.#waiting(row, definitions, 1);
    return first?.cover?.tenant === tenant;
  }

  async #total(filter: DeadLetterFilter, definitions: readonly SubscriptionDefinition[]): Promise<number> {
    const { subscription, state, tenant } = filter;
    let total = 0;
    const counted = tenant === undefined;
    if (counted) {
      for (const row of await this.#parts.store.countParked()) {
        if (subscription !== '' && row.subscription !== subscription) continue;
        if (state === undefined || row.state === state) total += row.count;
      }
    }
    let looked = 0;
    for await (const { found } of this.#rows(filter, counted ? FIRST_OUTPUT : undefined)) {
      if (found !== undefined && (await this.#isOf(filter, found, definitions))) total++;
      if (++looked === LOOK_ROWS) break;
    }
    return total;
  }

  #show(found: Found, definitions: readonly SubscriptionDefinition[]): DeadLetter {
    const { id, row } = found;
    const state = stateOf(found);
    const { position, attempts, reason, message } = row;
    const common = { id, subscription: subscriptionOf(id), state, position, attempts, reason, message, waiting: 0 };
    const nextAttemptAtMicros = state === 'retrying' ? row.dueAtMicros : undefined;
    if (!isOutput(found)) {
      const { partition, parkedAtMicros } = found.row;
      const key = keyCover(found.row, definitions);
      const nothing = { event: undefined, command: undefined };
      return { ...common, ...nothing, generation: partition.generation, key, parkedAtMicros, nextAttemptAtMicros };
    }
    const output = this.#output(found.row);
    const { generation, createdAtMicros: parkedAtMicros } = found.row;
    const key = keyOfOutput(found.row, output, definitions);
    return { ...common, ...output, generation, key, parkedAtMicros, nextAttemptAtMicros };
  }

  #output({ kind, body }: OutboxRow): { event: EventBook | undefined; command: CommandBook | undefined } {
    const { bodies } = this.#parts;
    if (kind === 'timer') return { event: undefined, command: undefined };
    if (kind === 'fact') return { event: bodies.decodeEvents(body), command: undefined };
    return { event: undefined, command: bodies.decodeCommand(body) };
  }

  /** Events of the key that are not handled yet, the first first, as they are stored. */
  async #waiting(row: ParkedKey, definitions: readonly SubscriptionDefinition[], most: number): Promise<EventBook[]> {
    const { store, reads, reading } = this.#parts;
    const { subscription, generation } = row.partition;
    const definition = definitions.find((each) => each.name === subscription && each.generation === generation);
    const { domains = [], types = [] } = definition ?? {};
    const wanted = (cover: Cover, page: EventPage) =>
      (domains.length === 0 || domains.includes(cover.domain)) &&
      (types.length === 0 ||
        types.includes(typeName(page.event!.typeUrl)) ||
        // What failed may be what it cannot be read as.
        page.position === row.position ||
        reads.concerns(cover.domain, [page]));
    const { position: head } = await store.head();
    const reader = new KeyReader(store, orderingBy(row, definitions), row.key, reading.keyEvents);
    const found: EventBook[] = [];
    const first = row.state === 'draining' ? row.through + 1 : row.position;
    for (let from = first, looked = 0; found.length < most && looked < LOOK_ROWS; looked++) {
      const event = await reader.next(from, head);
      if (event === undefined) break;
      const { cover, page } = event;
      if (wanted(cover, page)) {
        found.push({
          cover,
          snapshot: undefined,
          pages: [page],
          nextSequence: page.sequence + 1,
          consistencyToken: '',
        });
      }
      from = page.position + 1;
    }
    return found;
  }

  /** In today's shape; as it is stored, when that is what fails. */
  async #readable(book: EventBook): Promise<EventBook> {
    const [upcast] = await this.#parts.reads.books([book]).catch(() => [book]);
    return upcast!;
  }

  async #behind(row: OutboxRow): Promise<number> {
    const { store } = this.#parts;
    let behind = 0;
    for (let after: OutboxKey = row, looked = 0; looked < LOOK_ROWS; looked += LIST_ROWS) {
      const rows = await store.listOutbox({ subscription: row.subscription, after, limit: LIST_ROWS });
      for (const other of rows) {
        if (other.lane === row.lane && other.generation === row.generation && ++behind === WAITING_MAX) return behind;
      }
      if (rows.length < LIST_ROWS) break;
      after = rows.at(-1)!;
    }
    return behind;
  }
}

/** Before all outputs. */
const FIRST_OUTPUT: DeadLetterId = {
  kind: 'outbox',
  outbox: { logId: '', incarnation: '', subscription: '', generation: 0, position: 0, index: -1 },
};

function isOutput(found: Found): found is Extract<Found, { row: OutboxRow }> {
  return found.id.kind === 'outbox';
}

/** An output that was never tried in vain is on its way, not a dead letter. */
function hasFailed({ state, attempts }: OutboxRow): boolean {
  return state === 'dead' || attempts > 0;
}

function stateOf({ row }: Found): DeadLetter['state'] {
  return row.state === 'ready' || row.state === 'forwarded' ? 'retrying' : row.state;
}

function subscriptionOf(id: DeadLetterId): string {
  return id.kind === 'parked' ? id.partition.subscription : id.outbox.subscription;
}

function partitionKey({ subscription, generation, partition }: PartitionKey): PartitionKey {
  return { subscription, generation, partition };
}

function outboxKey({ logId, incarnation, subscription, generation, position, index }: OutboxKey): OutboxKey {
  return { logId, incarnation, subscription, generation, position, index };
}

function orderingBy({ partition, key }: ParkedKey, definitions: readonly SubscriptionDefinition[]): Ordering {
  const { subscription, generation } = partition;
  const definition = definitions.find((each) => each.name === subscription && each.generation === generation);
  const kind = (definition?.kind ?? 'saga') as ReactorKind;
  // The one key of those that are held up as a whole.
  return orderingOf(kind, key === '*');
}

function keyCover(row: ParkedKey, definitions: readonly SubscriptionDefinition[]): Cover | undefined {
  const place = placeOf(orderingBy(row, definitions), row.key);
  if (place.ordering === 'log') return undefined;
  if (place.ordering === 'correlation') {
    return { root: undefined, domain: '', correlationId: place.correlationId, tenant: place.tenant };
  }
  const { tenant, domain, root } = place.stream;
  return { root: { value: root }, domain, correlationId: '', tenant };
}

/** The aggregate whose event it answers, or the process. */
function keyOfOutput(
  { subscription, target, correlationId }: OutboxRow,
  { event, command }: Pick<DeadLetter, 'event' | 'command'>,
  definitions: readonly SubscriptionDefinition[],
): Cover | undefined {
  const kind = definitions.find(({ name }) => name === subscription)?.kind;
  if (kind === 'process_manager') return { root: undefined, domain: '', correlationId, tenant: target.tenant };
  return command?.origin?.source ?? event?.pages[0]?.origin?.source;
}

function notFound(sentence: string): DaybookError {
  return new DaybookError('NOT_FOUND', sentence, { metadata: { field: 'id' } });
}
