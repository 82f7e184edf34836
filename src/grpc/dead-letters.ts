import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import type { DeadLetter, DeadLetterId, DeadLettersCoordinator } from '../coordinators/dead-letters.ts';
import { invalid } from '../errors.ts';
import {
  type DiscardDeadLetterRequest,
  type DiscardDeadLetterResponse,
  type GetDeadLetterRequest,
  type ListDeadLettersRequest,
  type ListDeadLettersResponse,
  ParkedState,
  type ReplayDeadLettersRequest,
  type ReplayDeadLettersResponse,
  type DeadLetter as WireDeadLetter,
} from '../gen/daybook/v1/dead_letters.ts';
import { toTimestamp } from '../model/time.ts';
import { checkTenant, DOMAIN } from '../model/validation.ts';
import { type CallParts, unary } from './calls.ts';
import { pageSize, pageToken, placeOf } from './projections.ts';

export interface DeadLettersServiceParts extends CallParts {
  deadLetters: DeadLettersCoordinator;
}

const REASON_LENGTH = 1000;

export function deadLettersService(parts: DeadLettersServiceParts): UntypedServiceImplementation {
  const { deadLetters } = parts;
  return {
    list: unary<ListDeadLettersRequest, ListDeadLettersResponse>(parts, async (request) => {
      checkTenant(request.tenant);
      const filter = {
        subscription: request.subscription === '' ? '' : subscriptionOf(request.subscription),
        state: stateOf(request.state),
        tenant: request.allTenants ? undefined : request.tenant,
      };
      const after = request.pageToken === '' ? undefined : idOf(request.pageToken, 'page_token');
      const listed = await deadLetters.list(filter, { after, size: pageSize(request.pageSize) });
      return {
        // The bodies are for Get: a page of them could be too large for a message.
        deadLetters: listed.deadLetters.map((found) => ({ ...wireOf(found), event: undefined, command: undefined })),
        nextPageToken: listed.next === undefined ? '' : textOf(listed.next),
        total: listed.total,
      };
    }),

    get: unary<GetDeadLetterRequest, WireDeadLetter>(parts, async ({ id }) =>
      wireOf(await deadLetters.get(idOf(id, 'id'))),
    ),

    replay: unary<ReplayDeadLettersRequest, ReplayDeadLettersResponse>(parts, async ({ which }, caller) => {
      // `force` is for receivers that forget; within one log what was done is never forgotten before its output has gone.
      switch (which?.$case) {
        case 'id':
          await deadLetters.replay(idOf(which.value, 'id'), caller);
          return { replayed: 1 };
        case 'subscription':
          return { replayed: await deadLetters.replayAll(subscriptionOf(which.value), caller) };
        default:
          throw invalid('which', 'which: expected an id or a subscription, found none');
      }
    }),

    discard: unary<DiscardDeadLetterRequest, DiscardDeadLetterResponse>(parts, async ({ id, reason }, caller) => {
      if (reason.length > REASON_LENGTH) {
        throw invalid('reason', `reason: expected at most ${REASON_LENGTH} characters, found ${reason.length}`);
      }
      await deadLetters.discard(idOf(id, 'id'), reason, caller);
      return {};
    }),
  };
}

function wireOf(found: DeadLetter): WireDeadLetter {
  const { id, state, parkedAtMicros, nextAttemptAtMicros, ...rest } = found;
  return {
    ...rest,
    id: textOf(id),
    state: STATES[state],
    parkedAt: toTimestamp(parkedAtMicros),
    nextAttemptAt: nextAttemptAtMicros === undefined ? undefined : toTimestamp(nextAttemptAtMicros),
  };
}

const STATES = {
  retrying: ParkedState.PARKED_STATE_RETRYING,
  dead: ParkedState.PARKED_STATE_DEAD,
  draining: ParkedState.PARKED_STATE_DRAINING,
} as const;

function stateOf(state: ParkedState): DeadLetter['state'] | undefined {
  if (state === ParkedState.PARKED_STATE_UNSPECIFIED) return undefined;
  const [name] = Object.entries(STATES).find(([, value]) => value === state) ?? [];
  if (name === undefined) throw invalid('state', `state: expected RETRYING, DEAD or DRAINING, found ${state}`);
  return name as DeadLetter['state'];
}

function subscriptionOf(name: string): string {
  if (DOMAIN.test(name)) return name;
  throw invalid('subscription', `subscription: expected ${DOMAIN.source}, found ${JSON.stringify(name.slice(0, 80))}`);
}

// Ids: what names the row, as JSON in base64url. Opaque to clients.

function textOf(id: DeadLetterId): string {
  if (id.kind === 'parked') {
    const { subscription, generation, partition } = id.partition;
    return pageToken(['parked', subscription, generation, partition, id.key]);
  }
  const { logId, incarnation, subscription, generation, position, index } = id.outbox;
  return pageToken(['outbox', logId, incarnation, subscription, generation, position, index]);
}

function idOf(text: string, field: string): DeadLetterId {
  const parts = placeOf(text);
  if (Array.isArray(parts)) {
    const [kind, ...rest] = parts;
    if (kind === 'parked' && isLike(rest, ['', 0, 0, ''])) {
      const [subscription, generation, partition, key] = rest as [string, number, number, string];
      return { kind, partition: { subscription, generation, partition }, key };
    }
    if (kind === 'outbox' && isLike(rest, ['', '', '', 0, 0, 0])) {
      const [logId, incarnation, subscription, generation, position, index] = rest as [
        string,
        string,
        string,
        number,
        number,
        number,
      ];
      return { kind, outbox: { logId, incarnation, subscription, generation, position, index } };
    }
  }
  throw invalid(field, `${field}: expected one from an answer of DeadLetters, found something else`);
}

/** As many texts and whole numbers as in the example, in its order. */
function isLike(parts: readonly unknown[], example: readonly (string | number)[]): boolean {
  return (
    parts.length === example.length &&
    parts.every((part, i) => {
      if (typeof example[i] === 'string') return typeof part === 'string' && !part.includes('\0');
      return Number.isSafeInteger(part) && (part as number) >= 0;
    })
  );
}
