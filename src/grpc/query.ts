import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import type { QueryCoordinator, Selection } from '../coordinators/query.ts';
import type { LogTail } from '../delivery/log-tail.ts';
import { DaybookError, invalid } from '../errors.ts';
import type { Query, ReadLogRequest, ReadLogResponse } from '../gen/daybook/v1/query.ts';
import type { EventBook } from '../model/book.ts';
import type { LogFilter } from '../model/filter.ts';
import { encodeToken } from '../model/token.ts';
import { checkCorrelationId, checkTenant, streamOf } from '../model/validation.ts';
import type { LogIdentity } from '../store.ts';
import { type CallParts, serverStream, unary } from './calls.ts';
import { withToken } from './gateway.ts';

export interface QueryParts extends CallParts {
  query: QueryCoordinator;
  tail: LogTail;
  logIdentity: LogIdentity;
  limits: { messageBytes: number };
}

const SET_MAX = 1000;

export function queryService(parts: QueryParts): UntypedServiceImplementation {
  const { query, tail, logIdentity, limits } = parts;
  return {
    getEventBook: unary(parts, async (request: Query) => {
      const stream = streamOf(request.cover);
      const selection = selectionOf(request);
      await checkToken(query, request);
      return query.eventBook(stream, selection, limits.messageBytes);
    }),

    getEvents: serverStream(parts, async function* (request: Query): AsyncGenerator<EventBook, void, void> {
      if (request.cover?.root === undefined && request.cover?.correlationId) {
        throw new DaybookError('UNIMPLEMENTED', 'cover.root: this version of Daybook answers for one aggregate only');
      }
      const stream = streamOf(request.cover);
      const selection = selectionOf(request);
      await checkToken(query, request);
      yield* query.events(stream, selection);
    }),

    readLog: serverStream(parts, async function* (request: ReadLogRequest, caller): AsyncGenerator<
      ReadLogResponse,
      void,
      void
    > {
      const filter = filterOf(request);
      const limit = request.limit === 0 ? Infinity : request.limit;
      let position = await startOf(query, request);
      let sent = 0;
      const response = (books: EventBook[], through: number): ReadLogResponse => {
        sent += books.length;
        for (const book of books) withToken(book, book.pages.at(-1)!.position, logIdentity);
        // A limit that ends in the middle of what was looked at also ends the progress there.
        position = sent === limit ? books.at(-1)!.pages.at(-1)!.position : through;
        return { books, position, token: encodeToken({ ...logIdentity, position }) };
      };
      for await (const read of query.readLog(filter, position)) {
        yield response(read.books.slice(0, limit - sent), read.through);
        if (sent >= limit) return;
      }
      if (!request.follow) return;
      for await (const book of tail.follow(filter, position, caller.signal)) {
        yield response([book], book.pages.at(-1)!.position);
        if (sent >= limit) return;
      }
      if (!caller.signal.aborted) {
        throw new DaybookError('SHUTTING_DOWN', 'the daemon is stopping; read on from the last token');
      }
    }),
  };
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
    case 'temporal': {
      const point = selection.value.point;
      if (point?.$case === 'asOfSequence') return { kind: 'range', from: 0, to: point.value };
      throw new DaybookError(
        'UNIMPLEMENTED',
        'temporal: this version of Daybook answers as of a sequence, not yet as of a time',
      );
    }
  }
}

/** Nothing to wait for as long as reads are answered by the log itself; but a token of another log is told. */
async function checkToken(query: QueryCoordinator, request: Query): Promise<void> {
  if (request.consistencyToken !== '') await query.positionOf(request.consistencyToken, 'consistency_token');
}

function filterOf(request: ReadLogRequest): LogFilter {
  checkTenant(request.tenant);
  checkCorrelationId(request.correlationId, 'correlation_id');
  const filter: LogFilter = {};
  if (!request.allTenants) filter.tenant = request.tenant;
  if (request.domains.length > 0) filter.domains = request.domains;
  if (request.types.length > 0) filter.types = request.types;
  if (request.correlationId !== '') filter.correlationId = request.correlationId;
  return filter;
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
      throw new DaybookError('UNIMPLEMENTED', 'from_time: this version of Daybook begins at a position or a token');
  }
}
