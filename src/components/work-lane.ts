// Work for one hosted component on one attach stream: within its credits, by its deadlines, each answered by its id.

import { onAbort } from '../abort.ts';
import type { Deadline, Deadlines } from '../deadlines.ts';
import { assert, type DaybookError } from '../errors.ts';
import { Fifo } from '../fifo.ts';
import type { Credits, Reply } from '../gen/daybook/v1/component.ts';
import { TransientMap } from '../transient-map.ts';
import type { Outbox } from './outbox.ts';

const DEFAULT_CREDIT_ITEMS = 64;
const DEFAULT_CREDIT_BYTES = 16 << 20;

export interface Job {
  readonly workId: string;
  /** Counted against the credits. */
  readonly bytes: number;
  /** Of jobs with the same key the host has one at a time, also when nobody waits for it any more; `undefined`: it waits for no other. */
  readonly key: string | undefined;
  /** Work from inside which this comes, nearest first: it uses the credit of an ancestor that is in hand here. */
  readonly ancestors: readonly string[];
  /** By the monotonic clock, time spent waiting for credit included; `undefined`: `timeoutMs` counts. */
  readonly deadlineMs: number | undefined;
  /** From when it is sent, or waits for a withdrawn one of its key: waiting for credit is nobody's slowness. Without `deadlineMs` only. */
  readonly timeoutMs?: number;
  readonly signal: AbortSignal;
  /** Its turn has come. */
  send(): void;
  /** The host's answer. Not called for work that was withdrawn. */
  answer(reply: Reply): void;
  fail(error: unknown): void;
  /** What to fail with when the deadline passes. */
  timeout(): DaybookError;
  /** What to fail with when the stream goes after it was sent; absent: the same as what only waited. */
  lost?(): DaybookError;
}

interface Entry {
  job: Job;
  lent: boolean;
  /** Whoever waited has an answer; the host's is awaited all the same. */
  settled: boolean;
  /** `undefined`: it does not count yet. */
  deadline: Deadline | undefined;
  /** Nobody's going matters any more. */
  ignoreAbort: () => void;
  /** Among those who wait for credit. */
  ticket: number;
}

export class WorkLane {
  readonly #outbox: Outbox;
  readonly #deadlines: Deadlines;
  readonly #onLate: () => void;
  readonly #creditItems: number;
  readonly #creditBytes: number;
  /** Sent and not yet answered, by work id; withdrawn work included. */
  readonly #inHand = new TransientMap<string, Entry>();
  readonly #busyKeys = new Set<string>();
  /** For want of credit. */
  readonly #waiting = new Fifo<Entry>();
  /** Until the host has answered withdrawn work of the same key. */
  readonly #behind = new Map<string, Entry>();
  #itemsInHand = 0;
  #bytesInHand = 0;
  #closed: DaybookError | undefined;

  /** `onLate` is told of replies to work that was withdrawn. */
  constructor(credits: Credits | undefined, outbox: Outbox, deadlines: Deadlines, onLate: () => void) {
    this.#outbox = outbox;
    this.#deadlines = deadlines;
    this.#onLate = onLate;
    this.#creditItems = credits?.items || DEFAULT_CREDIT_ITEMS;
    this.#creditBytes = credits?.bytes || DEFAULT_CREDIT_BYTES;
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** Jobs that the host has or will get; withdrawn ones that it has not answered yet are among them. */
  get size(): number {
    return this.#inHand.size + this.#waiting.size + this.#behind.size;
  }

  /** A reply to this work is awaited. */
  has(workId: string): boolean {
    return this.#inHand.has(workId);
  }

  /** Somebody still waits for the outcome of this work. */
  isWanted(workId: string): boolean {
    return this.#inHand.get(workId)?.settled === false;
  }

  submit(job: Job): void {
    if (this.#closed !== undefined) return job.fail(this.#closed);
    const entry: Entry = {
      job,
      lent: job.ancestors.some((id) => this.#inHand.has(id)),
      settled: false,
      deadline:
        job.deadlineMs === undefined
          ? undefined
          : this.#deadlines.add(job.deadlineMs, () => this.#withdraw(entry, job.timeout())),
      ignoreAbort: onAbort(job.signal, () => this.#withdraw(entry, job.signal.reason)),
      ticket: -1,
    };
    this.#schedule(entry);
  }

  /** The answer to work for which `has` is true. */
  reply(reply: Reply): void {
    const entry = this.#inHand.get(reply.workId)!;
    this.#take(entry);
    if (entry.settled) this.#onLate();
    else {
      this.#release(entry);
      entry.job.answer(reply);
    }
    this.#next(entry);
  }

  /** It was never sent whole, so no reply will come: with an error if somebody still waits. */
  abandon(workId: string, error: unknown): void {
    const entry = this.#inHand.get(workId);
    if (entry === undefined) return;
    this.#take(entry);
    this.#fail(entry, error);
    this.#next(entry);
  }

  /** The stream is gone: nothing that it holds will be answered. Jobs that know what it means to be `lost` say so. */
  close(error: DaybookError): void {
    this.#closed = error;
    const sent = [...this.#inHand.values()];
    const entries = [...this.#waiting, ...this.#behind.values()];
    this.#inHand.clear();
    this.#waiting.clear();
    this.#behind.clear();
    this.#busyKeys.clear();
    for (const entry of sent) this.#fail(entry, entry.job.lost?.() ?? error);
    for (const entry of entries) this.#fail(entry, error);
  }

  #schedule(entry: Entry): void {
    const { key } = entry.job;
    if (key !== undefined && this.#busyKeys.has(key)) {
      // The coordinators have one thing of a key in hand at a time; only a withdrawn one can be before it.
      assert(!this.#behind.has(key), `one job waits behind ${key}`);
      this.#behind.set(key, entry);
      // The host may never answer that one.
      this.#startClock(entry);
    } else if (entry.lent || (this.#waiting.size === 0 && this.#hasCredit(entry))) this.#begin(entry);
    else entry.ticket = this.#waiting.push(entry);
  }

  #hasCredit({ job }: Entry): boolean {
    if (this.#itemsInHand === 0) return true;
    return this.#itemsInHand < this.#creditItems && this.#bytesInHand + job.bytes <= this.#creditBytes;
  }

  #begin(entry: Entry): void {
    const { job, lent } = entry;
    this.#inHand.set(job.workId, entry);
    if (job.key !== undefined) this.#busyKeys.add(job.key);
    if (!lent) {
      this.#itemsInHand++;
      this.#bytesInHand += job.bytes;
    }
    this.#startClock(entry);
    job.send();
  }

  /** Of jobs without a deadline of their own; anew when it is sent. */
  #startClock(entry: Entry): void {
    const { job } = entry;
    if (job.deadlineMs !== undefined) return;
    entry.deadline?.cancel();
    entry.deadline = this.#deadlines.after(job.timeoutMs!, () => this.#withdraw(entry, job.timeout()));
  }

  #take({ job, lent }: Entry): void {
    this.#inHand.delete(job.workId);
    if (job.key !== undefined) this.#busyKeys.delete(job.key);
    if (!lent) {
      this.#itemsInHand--;
      this.#bytesInHand -= job.bytes;
    }
  }

  /** What waited for the entry's key, and for its credit. */
  #next({ job: { key } }: Entry): void {
    const behind = key === undefined ? undefined : this.#behind.get(key);
    if (behind !== undefined) {
      this.#behind.delete(key!);
      this.#schedule(behind);
    }
    for (let first = this.#waiting.first; first !== undefined && this.#hasCredit(first); first = this.#waiting.first) {
      this.#waiting.shift();
      this.#begin(first);
    }
  }

  /** Nobody waits any more. The host is told, and keeps the key until it has answered. */
  #withdraw(entry: Entry, error: unknown): void {
    if (entry.settled) return;
    this.#fail(entry, error);
    const { workId, key } = entry.job;
    if (this.#inHand.has(workId)) this.#outbox.cancel(workId);
    else if (key !== undefined && this.#behind.get(key) === entry) this.#behind.delete(key);
    else this.#waiting.remove(entry.ticket);
  }

  #fail(entry: Entry, error: unknown): void {
    if (entry.settled) return;
    this.#release(entry);
    entry.job.fail(error);
  }

  #release(entry: Entry): void {
    entry.settled = true;
    entry.deadline?.cancel();
    entry.ignoreAbort();
  }
}
