// Rows that others forwarded to whoever hosts their target: outputs of reactions whose partitions lie elsewhere, and clients' calls.
// Hosts of a domain share them as the heartbeats tell. That two take the same row at once does no harm: it goes by its version.

import { ClaimLost } from '../coordinators/claim.ts';
import { answered, isHandedOver } from '../coordinators/handover.ts';
import { emptyWork } from '../coordinators/reaction.ts';
import { asDaybookError, DaybookError } from '../errors.ts';
import type { Timer } from '../runtime.ts';
import type { HostShare, OutboxRow } from '../store.ts';
import { Dispatcher, type RowSource } from './dispatcher.ts';
import { dispatchOutput, type OutputParts, type OutputSource, writeRow } from './outputs.ts';

export interface ForwardedParts extends OutputParts {
  /** What is this daemon's to send. */
  shares: () => readonly HostShare[];
  /** Leases hold. */
  valid: () => boolean;
  /** Whose output it is; `undefined`: it waits, since that is paused, or not known yet. */
  sourceOf: (row: OutboxRow) => OutputSource | undefined;
  /** Something moved that callers, or other daemons, may wait for. */
  onProgress: () => void;
}

/** Nobody judged it, and the caller's time is not over. */
const AGAIN: ReadonlySet<string> = new Set(['SHUTTING_DOWN', 'STORE_UNAVAILABLE', 'OUTCOME_UNKNOWN']);
const POLL_MIN_MS = 250;
const POLL_MAX_MS = 5000;

export class Forwarded implements RowSource {
  readonly name = 'forwarded';
  readonly #parts: ForwardedParts;
  readonly #dispatcher: Dispatcher;
  readonly #stopping = new AbortController();
  #poll: Timer | undefined;
  #pollMs = POLL_MAX_MS;

  constructor(parts: ForwardedParts) {
    this.#parts = parts;
    this.#dispatcher = new Dispatcher(parts, this);
  }

  get signal(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Somebody says that there may be something. */
  kick(): void {
    if (this.signal.aborted) return;
    this.#poll?.cancel();
    this.#poll = this.#parts.runtime.after(this.#pollMs, () => this.kick());
    this.#pollMs = Math.min(POLL_MAX_MS, this.#pollMs * 2);
    this.#dispatcher.kick();
  }

  /** What is in hand ends. */
  async drain(): Promise<void> {
    this.#poll?.cancel();
    await this.#dispatcher.drain();
  }

  stop(): void {
    this.#poll?.cancel();
    this.#dispatcher.stop();
    this.#stopping.abort(new Error('the daemon is stopping'));
  }

  mayDispatch(): boolean {
    return this.#parts.valid() && this.#parts.shares().length > 0;
  }

  async due(nowMicros: number, limit: number): Promise<OutboxRow[]> {
    const rows = await this.#parts.store.dueForwarded(this.#parts.shares(), nowMicros, limit);
    if (rows.length > 0) this.#pollMs = POLL_MIN_MS;
    return rows;
  }

  async nextDue(): Promise<undefined> {
    return undefined;
  }

  progressed(): void {
    this.#parts.onProgress();
  }

  async send(row: OutboxRow): Promise<void> {
    const { storeClock, runtime } = this.#parts;
    // Whoever wanted it has given up, and would have withdrawn it if that was still possible.
    if (row.expiresAtMicros !== undefined && row.expiresAtMicros <= storeClock()) return this.#write(row, undefined);
    if (isHandedOver(row)) return this.#execute(row);
    const source = this.#parts.sourceOf(row);
    if (source === undefined) {
      throw new DaybookError('COMPONENT_UNAVAILABLE', `${row.subscription}: is paused, or not known here yet`);
    }
    const leftMs = row.expiresAtMicros === undefined ? Infinity : (row.expiresAtMicros - storeClock()) / 1000;
    const caller = { deadlineMs: runtime.monotonicMs() + leftMs, signal: this.signal };
    await dispatchOutput(this.#parts, source, row, caller);
  }

  /** Somebody waits for the answer: nothing is tried again, unless nobody judged it. */
  async #execute(row: OutboxRow): Promise<void> {
    const { runtime, storeClock, bodies } = this.#parts;
    const deadlineMs = runtime.monotonicMs() + (row.expiresAtMicros! - storeClock()) / 1000;
    const { work, ancestors } = bodies.decodeForwarded(row.body);
    const caller = { deadlineMs, signal: this.signal, ancestors };
    try {
      if (await this.#run(row, work, caller)) await this.#write(row, answered(row, 'duplicate'));
    } catch (thrown) {
      if (thrown instanceof ClaimLost) throw thrown;
      const error = asDaybookError(thrown);
      // With a rejection the row has gone, unless that was known before.
      if (error.reason === 'REJECTED' && error.metadata.duplicate !== 'true') return;
      if (AGAIN.has(error.reason)) throw error;
      await this.#write(row, answered(row, error.reason === 'REJECTED' ? 'duplicate' : error));
    }
  }

  /** True: it was known before, and the row is still there. */
  async #run(
    row: OutboxRow,
    work: ReturnType<ForwardedParts['bodies']['decodeForwarded']>['work'],
    caller: Parameters<typeof dispatchOutput>[3],
  ): Promise<boolean> {
    const { business, facts } = this.#parts;
    const removed = emptyWork();
    removed.outboxChanged.push({ key: row, version: row.version, row: undefined });
    const claim = (key: string) => ({
      key: { tenant: row.target.tenant, kind: 'client', key } as const,
      work: () => removed,
    });
    if (work?.$case === 'facts') {
      await facts.record(work.value.facts, work.value.askAggregate, caller, claim(''));
      return false;
    }
    const command = work!.value;
    return (await business.execute(command, caller, claim(command.idempotencyKey))).duplicate;
  }

  async #write(row: OutboxRow, changed: OutboxRow | undefined): Promise<void> {
    await writeRow(this.#parts, row, changed, this.signal);
  }
}
