import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Leases } from '../../src/delivery/leases.ts';
import { manualRuntime } from '../support/clock.ts';

test('a heartbeat whose answer comes late does not make timers fire before they are due', async () => {
  const runtime = manualRuntime();
  const storeMicros = () => runtime.nowMicros() - 7_000_000;
  let takesMs = 0;
  const leases = new Leases({
    runtime,
    leaseMs: 12_000,
    instance: 'i',
    log: { info() {}, warn() {}, error() {} },
    describe: () => new Uint8Array(),
    onHeartbeat: () => {},
    onStore: () => {},
    store: {
      async heartbeat(instance, body) {
        const heartbeatAtMicros = storeMicros();
        // The process is paused while the answer is on its way.
        if (takesMs > 0) await runtime.advance(takesMs);
        return [{ instance, body, heartbeatAtMicros, expiresAtMicros: heartbeatAtMicros }];
      },
      async leave() {},
    },
  });
  await leases.start();
  assert.equal(leases.storeClock(), storeMicros());
  takesMs = 5000;
  await leases.renew();
  assert.equal(leases.storeClock(), storeMicros());
});
