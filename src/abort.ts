// Many short waits under one long-lived signal: a partition's, a stream's.

import { TransientMap } from './transient-map.ts';

/** Per signal: whom to call. */
const waiting = new WeakMap<AbortSignal, TransientMap<number, () => void>>();
let last = 0;

/**
 * Calls once when the signal aborts; what is returned ends that, and is cheap. Not `addEventListener`: there, removing costs as much as
 * there are listeners, and a removed one points to those that came after it. Once the oldest has become old garbage, no young
 * collection frees any of the others, nor what they hold: all memory of all calls became old, 80 MB a second under load.
 */
export function onAbort(signal: AbortSignal, call: () => void): () => void {
  let calls = waiting.get(signal);
  if (calls === undefined) {
    calls = new TransientMap();
    waiting.set(signal, calls);
    const all = calls;
    signal.addEventListener('abort', () => {
      for (const each of all.values()) each();
    });
  }
  const id = ++last;
  calls.set(id, call);
  return () => calls.delete(id);
}
