import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { onAbort } from '../abort.ts';
import type { ProjectionsCoordinator, Reading } from '../coordinators/projections.ts';
import { DaybookError, invalid } from '../errors.ts';
import type {
  GetProjectionRequest,
  ListProjectionsRequest,
  ListProjectionsResponse,
  WatchProjectionsRequest,
} from '../gen/daybook/v1/projections.ts';
import type { Projection } from '../gen/daybook/v1/types.ts';
import { hex } from '../model/stream.ts';
import { checkTenant, DOMAIN, streamOf } from '../model/validation.ts';
import { type CallParts, serverStream, unary } from './calls.ts';

export interface ProjectionsServiceParts extends CallParts {
  projections: ProjectionsCoordinator;
}

const PAGE = { fallback: 100, max: 1000 };

/** Streams end when `closing` is aborted. */
export function projectionsService(parts: ProjectionsServiceParts, closing: AbortSignal): UntypedServiceImplementation {
  const { projections } = parts;
  return {
    get: unary<GetProjectionRequest, Projection>(parts, async (request, caller) => {
      const reading = readingOf(request);
      const { cover, key } = request;
      if (cover !== undefined && key !== '') throw invalid('key', 'key: expected either a key or a cover, found both');
      if (cover === undefined) {
        if (key === '') throw invalid('key', 'key: expected a key, or a cover, found none');
        checkText(key, 'key');
        return projections.get(reading, key, caller);
      }
      const { tenant, root } = streamOf(cover);
      if (tenant !== '' && reading.tenant !== '' && tenant !== reading.tenant) {
        const found = `${JSON.stringify(tenant)} and ${JSON.stringify(reading.tenant)}`;
        throw invalid('cover.tenant', `cover.tenant: expected the same tenant in both places, found ${found}`);
      }
      return projections.get({ ...reading, tenant: reading.tenant || tenant }, hex(root), caller);
    }),

    list: unary<ListProjectionsRequest, ListProjectionsResponse>(parts, async (request, caller) => {
      const reading = readingOf(request);
      checkText(request.keyPrefix, 'key_prefix');
      const after = request.pageToken === '' ? undefined : keyOf(request.pageToken);
      const page = { prefix: request.keyPrefix, after, size: pageSize(request.pageSize) };
      const { projections: rows, next } = await projections.list(reading, page, caller);
      return { projections: rows, nextPageToken: next === undefined ? '' : pageToken(next) };
    }),

    watch: serverStream<WatchProjectionsRequest, Projection>(parts, (request, caller) => {
      const reading = readingOf(request);
      const { keyPrefix: prefix, changesOnly } = request;
      checkText(prefix, 'key_prefix');
      const signal = untilClosing(caller.signal, closing);
      return projections.watch(reading, { prefix, changesOnly }, { ...caller, signal });
    }),
  };
}

/** Of a stream that would never end by itself. */
export function untilClosing(signal: AbortSignal, closing: AbortSignal): AbortSignal {
  const ended = new AbortController();
  const goes = () => ended.abort(signal.reason);
  const closes = () => ended.abort(new DaybookError('SHUTTING_DOWN', 'the daemon is stopping; watch again'));
  if (signal.aborted) goes();
  else if (closing.aborted) closes();
  const stay = onAbort(closing, closes);
  onAbort(signal, () => {
    stay();
    goes();
  });
  return ended.signal;
}

export function pageSize(asked: number): number {
  return asked === 0 ? PAGE.fallback : Math.min(asked, PAGE.max);
}

/** Opaque to clients. */
export function pageToken(place: unknown): string {
  return Buffer.from(JSON.stringify(place)).toString('base64url');
}

/** `undefined` for what cannot be read. */
export function placeOf(token: string): unknown {
  try {
    return JSON.parse(Buffer.from(token, 'base64url').toString());
  } catch {
    return undefined;
  }
}

function keyOf(token: string): string {
  const key = placeOf(token);
  if (typeof key === 'string' && !key.includes('\0')) return key;
  throw invalid('page_token', 'page_token: expected one from the answer before, found something else');
}

function readingOf({ tenant, projector, consistencyToken }: Reading): Reading {
  checkTenant(tenant);
  if (!DOMAIN.test(projector)) {
    throw invalid('projector', `projector: expected ${DOMAIN.source}, found ${JSON.stringify(projector.slice(0, 80))}`);
  }
  return { tenant, projector, consistencyToken };
}

function checkText(text: string, field: string): void {
  if (text.includes('\0')) throw invalid(field, `${field}: a NUL character is not allowed`);
}
