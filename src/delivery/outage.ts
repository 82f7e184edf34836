// What concerns a whole subscription when so much fails that it is not the events: it is suspended, and a parked key is probed now and then,
// until something succeeds.

import { Suspension } from '../model/suspension.ts';
import type { Timer } from '../runtime.ts';
import type { Partition } from './partition.ts';
import type { DeliveryParts } from './parts.ts';

export interface OutageContext {
  readonly name: string;
  readonly generation: number;
  /** That this daemon holds. */
  readonly partitions: readonly Partition[];
  mayRetry(kind: 'probe'): boolean;
  /** Everything that waited goes on. */
  kickAll(): void;
}

const PROBE_MIN_MS = 200;
const PROBE_MAX_MS = 30_000;

export class Outage {
  readonly #parts: Pick<DeliveryParts, 'runtime' | 'log'>;
  readonly #subscription: OutageContext;
  readonly #suspension: Suspension;
  #probe: Timer | undefined;
  #probeMs = PROBE_MIN_MS;
  /** Which partition is asked next for a key to probe with. */
  #probes = 0;
  #stopped = false;

  constructor(parts: Pick<DeliveryParts, 'runtime' | 'log' | 'limits'>, subscription: OutageContext) {
    this.#parts = parts;
    this.#subscription = subscription;
    this.#suspension = new Suspension(parts.limits);
  }

  get suspended(): boolean {
    return this.#suspension.suspended;
  }

  /** An event was handled. */
  succeeded(): void {
    if (!this.#suspension.succeeded(() => this.#parked())) return;
    this.#probe?.cancel();
    this.#probe = undefined;
    const { name: subscription, generation } = this.#subscription;
    this.#parts.log.info({ subscription, generation }, 'subscription resumed');
    this.#subscription.kickAll();
  }

  /** A key was parked because of a failure. */
  parkedOne(): void {
    const parked = this.#parked();
    if (!this.#suspension.parked(parked)) return;
    const { name: subscription, generation } = this.#subscription;
    this.#parts.log.error(
      { subscription, generation, parked },
      'subscription suspended: so much fails that it is taken for an outage; nothing is parked until something succeeds',
    );
    this.#probeMs = PROBE_MIN_MS;
    this.#probeLater();
  }

  /** A probe that was not allowed may be now. */
  pump(): void {
    if (this.suspended && this.#probe === undefined) this.#probeLater();
  }

  stop(): void {
    this.#stopped = true;
    this.#probe?.cancel();
  }

  #parked(): number {
    return this.#subscription.partitions.reduce((sum, { parked }) => sum + parked.size, 0);
  }

  #probeLater(): void {
    this.#probe = this.#parts.runtime.after(this.#probeMs, () => void this.#run());
    this.#probeMs = Math.min(PROBE_MAX_MS, this.#probeMs * 2);
  }

  async #run(): Promise<void> {
    if (!this.#subscription.mayRetry('probe')) {
      this.#probe = undefined;
      return;
    }
    const all = this.#subscription.partitions;
    const turn = all.length === 0 ? 0 : this.#probes++ % all.length;
    for (const partition of [...all.slice(turn), ...all.slice(0, turn)]) {
      const key = partition.parked.candidate();
      if (key === undefined) continue;
      await partition.parked.probe(key);
      if (!this.#stopped && this.suspended) this.#probeLater();
      return;
    }
    // Nothing is parked any more: discarded, or given to others.
    this.succeeded();
  }
}
