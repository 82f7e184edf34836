// That this daemon is there: one heartbeat for all its leases, by the store's clock. Between two of them it knows by its own monotonic
// clock whether the others may have given it up already.

import { asDaybookError, DaybookError } from '../errors.ts';
import { retryDelayMs } from '../model/retry.ts';
import type { Runtime, Timer } from '../runtime.ts';
import type { DeliveryStore, InstanceRow } from '../store.ts';
import type { DeliveryLog } from './parts.ts';

/** A lease is not used so long before it ends: what was sent last must arrive before others begin. */
const MARGIN_MS = 2000;
const AWAY = { tries: Infinity, minMs: 100, maxMs: 1000 };

export interface LeasesOptions {
  store: Pick<DeliveryStore, 'heartbeat' | 'leave'>;
  runtime: Runtime;
  leaseMs: number;
  instance: string;
  log: DeliveryLog;
  /** What others shall know of this daemon. */
  describe: () => Uint8Array;
  /** After each heartbeat, with all that are there. */
  onHeartbeat: (instances: readonly InstanceRow[]) => void;
  /** Why the store cannot be used; `undefined`: it can again. Only when that has changed. */
  onStore: (fault: string | undefined) => void;
}

export class Leases {
  readonly #options: LeasesOptions;
  /** By the monotonic clock. */
  #validUntilMs = 0;
  /** The store's clock minus the monotonic one, in microseconds. */
  #offsetMicros: number;
  #timer: Timer | undefined;
  /** The store's clock is known. */
  #beaten = false;
  #failures = 0;
  #fault: string | undefined;
  #stopped = false;
  #beating: Promise<void> | undefined;

  constructor(options: LeasesOptions) {
    this.#options = options;
    const { runtime } = options;
    this.#offsetMicros = runtime.nowMicros() - runtime.monotonicMs() * 1000;
  }

  /** Microseconds since 1970 by the store's clock, as of the last heartbeat. */
  readonly storeClock = (): number => Math.floor(this.#offsetMicros + this.#options.runtime.monotonicMs() * 1000);

  /** Nobody else has taken over what this daemon holds. */
  get valid(): boolean {
    return this.#options.runtime.monotonicMs() < this.#validUntilMs;
  }

  /** Why the store cannot be used, as the last heartbeat found. */
  get storeFault(): string | undefined {
    return this.#fault;
  }

  /** Rejects when the store is away: there is nothing to begin with. */
  async start(): Promise<void> {
    await this.#beat();
  }

  /** Tells the others now what has changed here. */
  async renew(): Promise<void> {
    if (!this.#stopped) await this.#beat().catch(() => {});
  }

  /** Gives up everything that is held. */
  async leave(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#beating?.catch(() => {});
    this.#validUntilMs = 0;
    await this.#options.store.leave(this.#options.instance);
  }

  /**
   * The store's clock showed this at some time between the two. What was known stays when it agrees: an answer that came late, as after a
   * pause, says little. Of the first we take the latest time, so that nothing is due too early.
   */
  #adjust(storeMicros: number, sentMs: number, answeredMs: number): void {
    const least = storeMicros - answeredMs * 1000;
    const most = storeMicros - sentMs * 1000;
    this.#offsetMicros = this.#beaten ? Math.min(most, Math.max(least, this.#offsetMicros)) : least;
    this.#beaten = true;
  }

  #beat(): Promise<void> {
    this.#beating = (this.#beating ?? Promise.resolve()).catch(() => {}).then(() => this.#once());
    return this.#beating;
  }

  async #once(): Promise<void> {
    if (this.#stopped) return;
    const { store, runtime, leaseMs, instance, describe, onHeartbeat, log } = this.#options;
    this.#timer?.cancel();
    const sentMs = runtime.monotonicMs();
    let delayMs = leaseMs / 4;
    try {
      const rows = await this.#inTime(store.heartbeat(instance, describe(), leaseMs));
      this.#failures = 0;
      this.#found(undefined);
      this.#validUntilMs = sentMs + leaseMs - Math.min(MARGIN_MS, leaseMs / 4);
      const own = rows.find((row) => row.instance === instance)!;
      this.#adjust(own.heartbeatAtMicros, sentMs, runtime.monotonicMs());
      onHeartbeat(rows);
    } catch (error) {
      delayMs = retryDelayMs(AWAY, ++this.#failures, runtime.random())!;
      log.warn({ err: error }, 'the heartbeat could not be stored; trying again');
      this.#found(asDaybookError(error).message);
      throw error;
    } finally {
      if (!this.#stopped) this.#timer = runtime.after(delayMs, () => void this.#beat().catch(() => {}));
    }
  }

  #found(fault: string | undefined): void {
    if (fault === this.#fault) return;
    this.#fault = fault;
    this.#options.onStore(fault);
  }

  /** A store that says nothing is away as well. Whatever it says later does not count: the next heartbeat does. */
  async #inTime<T>(call: Promise<T>): Promise<T> {
    const { runtime, leaseMs } = this.#options;
    const late = Promise.withResolvers<never>();
    const limitMs = leaseMs / 2;
    const timer = runtime.after(limitMs, () =>
      late.reject(new DaybookError('STORE_UNAVAILABLE', `the store has not answered for ${limitMs / 1000} s`)),
    );
    try {
      return await Promise.race([call, late.promise]);
    } finally {
      timer.cancel();
    }
  }
}
