import type { ServerDuplexStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { PointInTime } from '../coordinators/past.ts';
import type { QueryCoordinator, Selection } from '../coordinators/query.ts';
import { Synchronizer } from '../coordinators/synchronize.ts';
import { DaybookError, invalid } from '../errors.ts';
import type {
  AggregateRoot,
  AggregateRootsRequest,
  EventStreamFilter,
  ListRejectionsRequest,
  Query,
  ReadLogRequest,
  ReadLogResponse,
  RecordedRejection,
  TemporalQuery,
} from '../gen/daybook/v1/query.ts';
import type { EventBook } from '../model/book.ts';
import type { LogFilter } from '../model/filter.ts';
import { toMicros, toTimestamp } from '../model/time.ts';
import { encodeToken } from '../model/token.ts';
import { checkCorrelationId, checkTenant, DOMAIN, streamOf } from '../model/validation.ts';
import type { LogIdentity } from '../store.ts';
import { type CallParts, callerOf, serverStream, unary, writable } from './calls.ts';
import { Refused } from './definition.ts';
import { withToken } from './gateway.ts';
import { statusOf } from './status.ts';

export interface QueryServiceParts extends CallParts {
  query: QueryCoordinator;
  logIdentity: LogIdentity;
  limits: { messageBytes: number };
}

const SET_MAX = 1000;
/** Aggregates of one Synchronize call. */
const SYNCHRONIZED_MAX = 10_000;

export function queryService(parts: QueryServiceParts): UntypedServiceImplementation {
  const { query, limits } = parts;
  return {
    getEventBook: unary(parts, async (request: Query) => {
      const stream = streamOf(request.cover);
      const selection = selectionOf(request);
      await checkToken(query, request.consistencyToken);
      return query.eventBook(stream, selection, limits.messageBytes);
    }),

    getEvents: serverStream(parts, async function* (request: Query): AsyncGenerator<EventBook, void, void> {
      await checkToken(query, request.consistencyToken);
      if (request.cover !== undefined && request.cover.root === undefined && request.cover.correlationId !== '') {
        yield* correlated(query, request);
        return;
      }
      yield* query.events(streamOf(request.cover), selectionOf(request));
    }),

    synchronize: (call: ServerDuplexStream<Query | Refused, EventBook>) => synchronize(parts, call),

    getAggregateRoots: serverStream(parts, async function* (request: AggregateRootsRequest): AsyncGenerator<
      AggregateRoot,
      void,
      void
    > {
      checkTenant(request.tenant);
      checkDomain(request.domain);
      const after = request.after?.value;
      if (after !== undefined && after.length !== 16) {
        throw invalid('after', `after: expected a UUID of 16 bytes, found ${after.length} bytes`);
      }
      let left = request.limit === 0 ? Infinity : request.limit;
      for await (const { stream, nextSequence } of query.aggregates(request.tenant, request.domain, after)) {
        yield { root: { value: stream.root }, nextSequence };
        if (--left === 0) return;
      }
    }),

    readLog: serverStream(parts, (request: ReadLogRequest, caller) => readLog(parts, request, caller.signal)),

    listRejections: serverStream(parts, async function* (request: ListRejectionsRequest): AsyncGenerator<
      RecordedRejection,
      void,
      void
    > {
      checkTenant(request.tenant);
      if (request.correlationId === '') throw invalid('correlation_id', 'correlation_id: expected one, found none');
      checkCorrelationId(request.correlationId, 'correlation_id');
      for await (const { body, ...found } of query.rejections(request.tenant, request.correlationId)) {
        const { origin, commands, decidedAtMicros } = body;
        yield { ...found, origin, commands, decidedAt: toTimestamp(decidedAtMicros) };
      }
    }),
  };
}

export function eventStreamService(parts: QueryServiceParts): UntypedServiceImplementation {
  const { query, logIdentity } = parts;
  return {
    subscribe: serverStream(parts, async function* (request: EventStreamFilter, caller): AsyncGenerator<
      EventBook,
      void,
      void
    > {
      const filter = filterOf(request);
      const after = request.after === '' ? await query.head() : await query.positionOf(request.after, 'after');
      for await (const book of query.follow(filter, after, caller.signal)) {
        yield withToken(book, book.pages.at(-1)!.position, logIdentity);
      }
      if (!caller.signal.aborted) throw endsEarly();
    }),
  };
}

async function* correlated(query: QueryCoordinator, request: Query): AsyncGenerator<EventBook, void, void> {
  const { tenant, correlationId, domain } = request.cover!;
  checkTenant(tenant, 'cover.tenant');
  checkCorrelationId(correlationId);
  if (request.selection !== undefined || domain !== '') {
    throw invalid(
      'cover.root',
      'cover.root: with only a correlation id everything is answered: no domain, no selection',
    );
  }
  yield* query.correlated(tenant, correlationId);
}

async function* readLog(
  { query, logIdentity }: QueryServiceParts,
  request: ReadLogRequest,
  signal: AbortSignal,
): AsyncGenerator<ReadLogResponse, void, void> {
  const filter = filterOf(request);
  if (request.allTenants) delete filter.tenant;
  const limit = request.limit === 0 ? Infinity : request.limit;
  let position = await startOf(query, request);
  let sent = 0;
  const response = (books: EventBook[], through: number): ReadLogResponse => {
    sent += books.length;
    for (const book of books) withToken(book, book.pages.at(-1)!.position, logIdentity);
    // A limit that ends in the middle of what was looked at also ends the progress there.
    position = sent === limit ? books.at(-1)!.pages.at(-1)!.position : through;
    const { logId, incarnation } = logIdentity;
    return { books, position, token: encodeToken({ logId, incarnation, position }) };
  };
  for await (const read of query.readLog(filter, position)) {
    yield response(read.books.slice(0, limit - sent), read.through);
    if (sent >= limit) return;
  }
  if (!request.follow) return;
  for await (const book of query.follow(filter, position, signal)) {
    yield response([book], book.pages.at(-1)!.position);
    if (sent >= limit) return;
  }
  if (!signal.aborted) throw endsEarly();
}

/** Queries come in, and what they lack goes out; live books go out beside. One write at a time, at the reader's pace. */
function synchronize(parts: QueryServiceParts, call: ServerDuplexStream<Query | Refused, EventBook>): void {
  const { query, logIdentity } = parts;
  const caller = callerOf(call, parts.runtime);
  const ended = new AbortController();
  const signal = AbortSignal.any([caller.signal, ended.signal]);
  const synchronizer = new Synchronizer(query);
  let writing: Promise<void> = Promise.resolve();
  const write = (book: EventBook): Promise<void> => {
    const position = book.pages.at(-1)!.position;
    // A copy: books of the tail are everybody's.
    const message = { ...book, consistencyToken: '' };
    writing = writing.then(async () => {
      if (!signal.aborted && !call.write(withToken(message, position, logIdentity))) await writable(call);
    });
    return writing;
  };
  const fail = (error: unknown) => {
    if (signal.aborted) return;
    ended.abort();
    call.emit('error', statusOf(error, parts.log));
  };
  const answer = async (request: Query | Refused): Promise<void> => {
    if (request instanceof Refused) throw request.error;
    const stream = streamOf(request.cover);
    if (synchronizer.size >= SYNCHRONIZED_MAX) {
      throw new DaybookError('OVERLOADED', `one call synchronizes at most ${SYNCHRONIZED_MAX} aggregates`, {
        metadata: { limit: 'synchronized_aggregates' },
        retryDelayMs: 1000,
      });
    }
    for await (const book of synchronizer.add(stream, lackingFrom(request))) {
      if (signal.aborted) return;
      await write(book);
    }
  };
  const live = async (): Promise<void> => {
    for await (const book of query.follow({}, await query.head(), signal)) {
      const part = synchronizer.live(book);
      if (part !== undefined) await write(part);
    }
    if (!signal.aborted) throw endsEarly();
  };
  // One query after the other: the next is read when this one's answer has been written.
  call.on('data', (request: Query | Refused) => {
    call.pause();
    answer(request).then(() => call.resume(), fail);
  });
  // The client has asked everything; it goes on listening until it cancels.
  call.on('end', () => {});
  call.on('error', () => ended.abort());
  live().catch(fail);
}

/** A query names what the client lacks: everything, or from a sequence on. */
function lackingFrom(request: Query): number {
  const { selection } = request;
  if (selection === undefined) return 0;
  if (selection.$case === 'range' && selection.value.upper === undefined) return selection.value.lower;
  throw invalid(
    'selection',
    'selection: Synchronize takes a range without an upper end: what is held ends before its lower end',
  );
}

function selectionOf(query: Query): Selection {
  const selection = query.selection;
  switch (selection?.$case) {
    case undefined:
      return { kind: 'current' };
    case 'range': {
      const { lower, upper } = selection.value;
      if (upper !== undefined && upper < lower) {
        throw invalid('range.upper', `range.upper: expected at least range.lower, which is ${lower}, found ${upper}`);
      }
      return { kind: 'range', from: lower, to: upper };
    }
    case 'sequences': {
      const count = selection.value.values.length;
      if (count > SET_MAX) throw invalid('sequences', `sequences: expected at most ${SET_MAX}, found ${count}`);
      return { kind: 'set', sequences: selection.value.values };
    }
    case 'temporal':
      return { kind: 'past', point: pointOf(selection.value, 'temporal') };
  }
}

export function pointOf(temporal: TemporalQuery, field: string): PointInTime {
  switch (temporal.point?.$case) {
    case 'asOfTime':
      return { kind: 'time', timeMicros: toMicros(temporal.point.value) };
    case 'asOfSequence':
      return { kind: 'sequence', sequence: temporal.point.value };
    case undefined:
      throw invalid(`${field}.point`, `${field}.point: expected as_of_time or as_of_sequence, found neither`);
  }
}

/** Nothing to wait for as long as reads are answered by the log itself; but a token of another log is told. */
async function checkToken(query: QueryCoordinator, token: string): Promise<void> {
  if (token !== '') await query.positionOf(token, 'consistency_token');
}

function filterOf(request: { tenant: string; domains: string[]; types: string[]; correlationId: string }): LogFilter {
  checkTenant(request.tenant);
  checkCorrelationId(request.correlationId, 'correlation_id');
  for (const domain of request.domains) checkDomain(domain, 'domains');
  // An empty name would match nothing, silently; it comes from a trailing comma.
  if (request.types.includes('')) throw invalid('types', 'types: expected full type names, found an empty one');
  const filter: LogFilter = { tenant: request.tenant };
  if (request.domains.length > 0) filter.domains = request.domains;
  if (request.types.length > 0) filter.types = request.types;
  if (request.correlationId !== '') filter.correlationId = request.correlationId;
  return filter;
}

function checkDomain(domain: string, field = 'domain'): void {
  if (!DOMAIN.test(domain))
    throw invalid(field, `${field}: expected ${DOMAIN.source}, found ${JSON.stringify(domain)}`);
}

async function startOf(query: QueryCoordinator, request: ReadLogRequest): Promise<number> {
  switch (request.start?.$case) {
    case undefined:
      return 0;
    case 'afterPosition':
      return request.start.value;
    case 'afterToken':
      return query.positionOf(request.start.value, 'after_token');
    case 'fromTime':
      return query.positionBefore(toMicros(request.start.value));
  }
}

function endsEarly(): DaybookError {
  return new DaybookError('SHUTTING_DOWN', 'the daemon is stopping; continue from the last token');
}
