// What could not be delivered: see it, try it again, or give it up.

import type { CallOptions, Calls } from './calls.ts';
import {
  type DeadLetter,
  DeadLettersDefinition,
  type ListDeadLettersResponse,
  ParkedState,
} from './gen/daybook/v1/dead_letters.ts';
import { methodOf } from './transport.ts';

/** `retrying`: tried again by itself. `dead`: waits for you. `draining`: has succeeded, and catches up. */
export type ParkedStateName = 'retrying' | 'dead' | 'draining';

export interface DeadLettersQuery {
  subscription?: string;
  /** Default: all. */
  state?: ParkedStateName;
  tenant?: string;
  /** Of every tenant. Default: false. */
  allTenants?: boolean;
  /** Default: 100, at most 1,000. */
  pageSize?: number;
  pageToken?: string;
}

export class DeadLetters {
  readonly #calls: Calls;
  readonly #tenant: string;

  constructor(calls: Calls, tenant = '') {
    this.#calls = calls;
    this.#tenant = tenant;
  }

  /** `nextPageToken` is empty after the last page. */
  list(query: DeadLettersQuery = {}, options?: CallOptions): Promise<ListDeadLettersResponse> {
    const { subscription = '', state, tenant = this.#tenant, allTenants = false, pageSize = 0, pageToken = '' } = query;
    const chosen = state === undefined ? ParkedState.PARKED_STATE_UNSPECIFIED : STATES[state];
    const request = { subscription, state: chosen, tenant, allTenants, pageSize, pageToken };
    return this.#calls.repeated(LIST, request, options);
  }

  get(id: string, options?: CallOptions): Promise<DeadLetter> {
    return this.#calls.repeated(GET, { id }, options);
  }

  /**
   * Tries one, or all of a subscription, again, and resolves with how many. `force` also repeats what the receiver may have forgotten that
   * it did: the effect may then happen twice. Sent once, whatever happens: a second time could find something else there.
   */
  async replay(
    which: { id: string } | { subscription: string },
    options: CallOptions & { force?: boolean } = {},
  ): Promise<number> {
    const { force = false } = options;
    const chosen =
      'id' in which
        ? ({ $case: 'id', value: which.id } as const)
        : ({ $case: 'subscription', value: which.subscription } as const);
    const { replayed } = await this.#calls.once(REPLAY, { which: chosen, force }, options);
    return replayed;
  }

  /** Gives the failed event up, for good, and goes on after it. The reason is kept in the daemon's log. Sent once, like `replay`. */
  async discard(id: string, options: CallOptions & { reason?: string } = {}): Promise<void> {
    await this.#calls.once(DISCARD, { id, reason: options.reason ?? '' }, options);
  }
}

const STATES: Readonly<Record<ParkedStateName, 1 | 2 | 3>> = {
  retrying: ParkedState.PARKED_STATE_RETRYING,
  dead: ParkedState.PARKED_STATE_DEAD,
  draining: ParkedState.PARKED_STATE_DRAINING,
};

const { methods } = DeadLettersDefinition;
const LIST = methodOf(DeadLettersDefinition, methods.list);
const GET = methodOf(DeadLettersDefinition, methods.get);
const REPLAY = methodOf(DeadLettersDefinition, methods.replay);
const DISCARD = methodOf(DeadLettersDefinition, methods.discard);
