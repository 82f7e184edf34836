// The outbox of one partition that is held here: where its rows go.

import { timerLane } from '../coordinators/process-manager.ts';
import { orderingKey } from '../model/ordering.ts';
import type { OutboxRow, TimerRow } from '../store.ts';
import type { RowSource } from './dispatcher.ts';
import { dispatchOutput, type OutputParts, type OutputSource, writeRow } from './outputs.ts';
import type { Partition } from './partition.ts';

export interface OutboxParts extends OutputParts {
  /** Somebody here decides for the domain, or may record its facts. */
  hostsHere: (domain: string) => boolean;
  /** Other daemons of the log do. */
  hostedElsewhere: (domain: string) => boolean;
  /** Other daemons shall look. */
  announce: () => void;
}

export interface OutboxContext extends OutputSource {
  mayDispatch(): boolean;
  /** A row has gone, or changed. */
  progressed(): void;
}

export class PartitionOutbox implements RowSource {
  readonly #parts: OutboxParts;
  readonly #context: OutboxContext;
  readonly #partition: Partition;

  constructor(parts: OutboxParts, context: OutboxContext, partition: Partition) {
    this.#parts = parts;
    this.#context = context;
    this.#partition = partition;
  }

  get name(): string {
    return this.#context.name;
  }

  get signal(): AbortSignal {
    return this.#partition.signal;
  }

  mayDispatch(): boolean {
    return this.#context.mayDispatch();
  }

  due(nowMicros: number, limit: number): Promise<OutboxRow[]> {
    return this.#parts.store.dueOutbox(this.#partition.key, nowMicros, limit);
  }

  nextDue(): Promise<number | undefined> {
    return this.#parts.store.nextOutboxDue(this.#partition.key);
  }

  progressed(): void {
    this.#context.progressed();
  }

  async send(row: OutboxRow): Promise<void> {
    const own = this.#context.kind === 'process_manager';
    if (row.kind === 'timer') {
      const occasion = { kind: 'timer', row: timerOf(row), from: row } as const;
      return this.#partition.trigger(processKeyOf(row), occasion);
    }
    if (row.kind === 'notification' && own) {
      return this.#partition.trigger(processKeyOf(row), { kind: 'rejection', row });
    }
    const { domain } = row.target;
    if (!this.#parts.hostsHere(domain) && this.#parts.hostedElsewhere(domain)) return this.#forward(row);
    const caller = { deadlineMs: Infinity, signal: this.#partition.signal };
    return dispatchOutput(this.#parts, this.#context, row, caller);
  }

  /** Who decides for its target sends it: the outcome and the row's end are one unit there as they would be here. */
  async #forward(row: OutboxRow): Promise<void> {
    const dueAtMicros = Math.min(row.dueAtMicros, this.#parts.storeClock());
    await writeRow(this.#parts, row, { ...row, state: 'forwarded', dueAtMicros }, this.signal);
    this.#parts.announce();
  }
}

function processKeyOf({ target, correlationId }: OutboxRow): string {
  return orderingKey('correlation', { root: undefined, domain: '', tenant: target.tenant, correlationId });
}

/** The row that a timer becomes when it has failed too often. */
export function rowOfTimer(timer: TimerRow, base: Omit<OutboxRow, 'lane' | 'body' | 'kind'>): OutboxRow {
  return { ...base, kind: 'timer', lane: timerLane(timer.process, timer.name), body: timer.body };
}

function timerOf(row: OutboxRow): TimerRow {
  const process = processKeyOf(row);
  return {
    tenant: row.target.tenant,
    subscription: row.subscription,
    process,
    name: row.lane.slice(timerLane(process, '').length),
    partition: row.partition,
    correlationId: row.correlationId,
    dueAtMicros: row.createdAtMicros,
    body: row.body,
    version: row.version,
  };
}
