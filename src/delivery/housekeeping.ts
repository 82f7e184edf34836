import type { Runtime, Timer } from '../runtime.ts';
import type { WorkStore } from '../store.ts';
import type { Logger } from '../telemetry/log.ts';

const EVERY_MS = 60_000;
/** A short transaction each, so that commands are not held up. */
const BATCH = 500;

/** Forgets idempotency outcomes whose time is over, now and then and in small batches. */
export function forgetExpiredOutcomes(store: WorkStore, runtime: Runtime, log: Logger): { stop(): void } {
  let stopped = false;
  let timer: Timer;
  const round = async () => {
    try {
      const forgotten = await store.expireOutcomes(runtime.nowMicros(), BATCH);
      if (!stopped) timer = runtime.after(forgotten === BATCH ? 100 : EVERY_MS, () => void round());
    } catch (error) {
      log.warn({ err: error }, 'idempotency outcomes could not be expired; trying again later');
      if (!stopped) timer = runtime.after(EVERY_MS, () => void round());
    }
  };
  timer = runtime.after(EVERY_MS, () => void round());
  return {
    stop() {
      stopped = true;
      timer.cancel();
    },
  };
}
