// Work for a domain that only other daemons host, and none that can be called: a row of the outbox, which one of them takes, and whose
// end is waited for here. The row expires when its caller gives up, and is withdrawn then: it goes in the very unit of what it leads to,
// so either that happened or it never will.

import { onAbort } from '../abort.ts';
import { asDaybookError, DaybookError, type Reason } from '../errors.ts';
import { sentence } from '../model/failure.ts';
import { streamSlice } from '../model/slice.ts';
import { type StreamKey, streamText } from '../model/stream.ts';
import { type Runtime, sleep, type Timer } from '../runtime.ts';
import type { LogIdentity, OutboxRow, Store, WorkPart } from '../store.ts';
import type { Bodies } from './bodies.ts';
import type { Committer } from './committer.ts';
import type { ForwardedWork } from './peers.ts';
import { emptyWork } from './reaction.ts';

export interface HandoverParts {
  store: Store;
  committer: Pick<Committer, 'commit'>;
  bodies: Bodies;
  runtime: Runtime;
  /** Microseconds since 1970, as the store counts them. */
  storeClock: () => number;
  /** Other daemons shall look. */
  announce: () => void;
  /** Some other daemon can take it. */
  isHosted: (domain: string) => boolean;
  /** Called when another daemon says that something is new. */
  onNews: (listener: () => void) => void;
  log: LogIdentity;
  instance: string;
}

/** Rows of clients' calls are of no subscription. No name of one begins so. */
const PREFIX = '>';
/** Of a row that is answered: the key was known before. */
const DUPLICATE = 'DUPLICATE';
/** All rows that are waited for share one look, soon after they were written and when others have news. */
const POLL_MIN_MS = 10;
const POLL_MAX_MS = 100;
const LIST_ROWS = 500;
const INDEXES = Number.MAX_SAFE_INTEGER;

/** A client's call, not a reaction's output. */
export function isHandedOver({ subscription }: Pick<OutboxRow, 'subscription'>): boolean {
  return subscription.startsWith(PREFIX);
}

/** The row when it did not come about, for whoever waits; it stays until it has expired, or is withdrawn. */
export function answered(row: OutboxRow, thrown: unknown | 'duplicate'): OutboxRow {
  const later = { ...row, dueAtMicros: row.expiresAtMicros ?? row.dueAtMicros };
  if (thrown === 'duplicate') return { ...later, reason: DUPLICATE, message: '' };
  const { reason, message, metadata, retryDelayMs } = asDaybookError(thrown);
  return { ...later, reason, message: JSON.stringify({ message: sentence(message), metadata, retryDelayMs }) };
}

function errorOf({ reason, message: text }: OutboxRow): DaybookError {
  const { message, metadata, retryDelayMs } = JSON.parse(text);
  return new DaybookError(reason as Reason, message, { metadata, ...(retryDelayMs !== undefined && { retryDelayMs }) });
}

type End = OutboxRow | 'gone' | 'late' | 'unhosted';

interface Wait {
  domain: string;
  settle: (end: End) => void;
}

export class Handover {
  readonly #parts: HandoverParts;
  readonly #subscription: string;
  /** By index. */
  readonly #waits = new Map<number, Wait>();
  #timer: Timer | undefined;
  #looking = false;
  #pollMs = POLL_MIN_MS;

  constructor(parts: HandoverParts) {
    this.#parts = parts;
    this.#subscription = `${PREFIX}${parts.instance}`;
    parts.onNews(() => this.#lookSoon());
  }

  /**
   * Resolves when it is done, and its outcome stored; `duplicate`: it was known. Rejects with why it could not be done, with
   * COMPONENT_TIMEOUT when nobody took it in time, or COMPONENT_UNAVAILABLE when nobody is left who could (nothing was stored then),
   * with OUTCOME_UNKNOWN when the store stays away, and with the signal's reason.
   */
  async run(
    target: StreamKey,
    correlationId: string,
    work: ForwardedWork,
    { deadlineMs, signal }: { deadlineMs: number; signal: AbortSignal },
  ): Promise<'done' | 'duplicate'> {
    const row = await this.#add(target, correlationId, work, deadlineMs);
    this.#parts.announce();
    try {
      const ended = await this.#until(row, deadlineMs, signal);
      const end = ended === 'late' || ended === 'unhosted' ? await this.#withdraw(row) : ended;
      if (end === 'gone') return 'done';
      if (end === 'withdrawn') throw ended === 'late' ? nobodyTook(row) : nobodyLeft(row);
      // Nobody waits for it any more; should it stay, it expires.
      await this.#remove(end).catch(() => {});
      if (end.reason === DUPLICATE) return 'duplicate';
      throw errorOf(end);
    } catch (error) {
      if (signal.aborted) void this.#withdraw(row).catch(() => {});
      throw error;
    }
  }

  /** Ends the looking; what waits ends with its caller. */
  close(): void {
    this.#timer?.cancel();
  }

  async #add(target: StreamKey, correlationId: string, work: ForwardedWork, deadlineMs: number): Promise<OutboxRow> {
    const { runtime, storeClock, bodies, log } = this.#parts;
    const body = bodies.encodeForwarded(work);
    for (;;) {
      const now = storeClock();
      const index = Math.floor(runtime.random() * INDEXES);
      const row: OutboxRow = {
        logId: log.logId,
        incarnation: log.incarnation,
        subscription: this.#subscription,
        generation: 1,
        // Hosts share rows by it.
        partition: streamSlice(target),
        position: 0,
        index,
        // Commands for one aggregate wait for each other before they come here.
        lane: `${this.#subscription} ${index}`,
        state: 'forwarded',
        target,
        correlationId,
        kind: work.work?.$case === 'facts' ? 'fact' : 'command',
        body,
        attempts: 0,
        dueAtMicros: now,
        expiresAtMicros: Math.floor(now + (deadlineMs - runtime.monotonicMs()) * 1000),
        createdAtMicros: now,
        reason: '',
        message: '',
        version: 0,
      };
      if (await this.#commit({ outboxAdded: [row] })) return row;
    }
  }

  async #until(row: OutboxRow, deadlineMs: number, signal: AbortSignal): Promise<End> {
    signal.throwIfAborted();
    const { runtime } = this.#parts;
    const { promise, resolve, reject } = Promise.withResolvers<End>();
    this.#waits.set(row.index, { domain: row.target.domain, settle: resolve });
    const late = runtime.after(Math.max(0, deadlineMs - runtime.monotonicMs()), () => resolve('late'));
    const ignoreAbort = onAbort(signal, () => reject(signal.reason));
    this.#lookSoon();
    try {
      return await promise;
    } finally {
      this.#waits.delete(row.index);
      late.cancel();
      ignoreAbort();
    }
  }

  #lookSoon(): void {
    this.#pollMs = POLL_MIN_MS;
    this.#lookIn(POLL_MIN_MS / 2);
  }

  #lookIn(delayMs: number): void {
    if (this.#looking || this.#waits.size === 0) return;
    this.#timer?.cancel();
    this.#timer = this.#parts.runtime.after(delayMs, () => void this.#look());
  }

  async #look(): Promise<void> {
    this.#looking = true;
    // Rows of those who come while this looks may not be seen by it.
    const asked = [...this.#waits];
    try {
      const rows = new Map((await this.#list()).map((row) => [row.index, row]));
      for (const [index, { domain, settle }] of asked) {
        const row = rows.get(index);
        if (row === undefined) settle('gone');
        else if (row.reason !== '') settle(row);
        else if (!this.#parts.isHosted(domain)) settle('unhosted');
      }
    } catch {
      // The store is away: whoever waits asks again, until the time is over.
    }
    this.#looking = false;
    this.#pollMs = Math.min(POLL_MAX_MS, this.#pollMs * 1.5);
    this.#lookIn(this.#pollMs);
  }

  async #list(): Promise<OutboxRow[]> {
    const all: OutboxRow[] = [];
    for (let after: OutboxRow | undefined; ; after = all.at(-1)) {
      const list = { subscription: this.#subscription, limit: LIST_ROWS, ...(after && { after }) };
      const rows = await this.#parts.store.listOutbox(list);
      all.push(...rows);
      if (rows.length < LIST_ROWS) return all;
    }
  }

  /** Takes the row away, unless something has become of it. */
  async #withdraw(row: OutboxRow): Promise<OutboxRow | 'gone' | 'withdrawn'> {
    for (;;) {
      const now = await this.#readStubbornly(row);
      if (now === undefined) return 'gone';
      if (now.reason !== '') return now;
      if (await this.#remove(now)) return 'withdrawn';
    }
  }

  async #readStubbornly(row: OutboxRow): Promise<OutboxRow | undefined> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#parts.store.readOutbox(row);
      } catch (error) {
        if (tries === READ_TRIES) {
          const cause = { cause: error };
          throw new DaybookError('OUTCOME_UNKNOWN', 'the store went away while the command was waited for', cause);
        }
        await sleep(this.#parts.runtime, POLL_MAX_MS * tries);
      }
    }
  }

  #remove(row: OutboxRow): Promise<boolean> {
    return this.#commit({ outboxChanged: [{ key: row, version: row.version, row: undefined }] });
  }

  /** False: the row is not as it was. */
  async #commit(part: Partial<WorkPart>): Promise<boolean> {
    const { committer, runtime } = this.#parts;
    const nothing = { appends: [], expectations: [], snapshots: [], outcomes: [] };
    const work = { ...emptyWork(), ...part };
    const result = await committer.commit({ unitId: runtime.uuid(), ...nothing, work });
    return result.kind === 'committed';
  }
}

function nobodyTook({ target, createdAtMicros, expiresAtMicros }: OutboxRow): DaybookError {
  const timeoutMs = Math.round((expiresAtMicros! - createdAtMicros) / 1000);
  const what = `no daemon that hosts ${target.domain} took it within ${timeoutMs} ms`;
  return new DaybookError(
    'COMPONENT_TIMEOUT',
    `${streamText(target)}: ${what}; it was withdrawn, and nothing was stored`,
    {
      metadata: { component: target.domain, timeout_ms: timeoutMs },
    },
  );
}

function nobodyLeft({ target }: OutboxRow): DaybookError {
  return new DaybookError('COMPONENT_UNAVAILABLE', `${target.domain}: the daemon that hosted it has gone`, {
    metadata: { component: target.domain },
    retryDelayMs: 200,
  });
}

const READ_TRIES = 5;
