import type { DeliveryStore } from '../../src/store.ts';

const EVER = Number.MAX_SAFE_INTEGER;

/** Everything that a store says of some subscriptions at a time. */
export async function deliveryState(store: DeliveryStore, names: readonly string[], nowMicros = EVER) {
  return Promise.all(
    names.map(async (subscription) => {
      const cursors = await store.listCursors(subscription);
      const counts = (await store.countParked()).filter((count) => count.subscription === subscription);
      const generations = (await store.listSubscriptions()).filter(({ name }) => name === subscription);
      const listed = { subscription, limit: 1000 };
      return {
        generations,
        cursors,
        counts,
        parked: await store.listParked(listed),
        outbox: await store.listOutbox(listed),
        dead: await store.listOutbox({ ...listed, state: 'dead' }),
        active: await store.activeGeneration(subscription),
        partitions: await Promise.all(
          cursors.map(async (cursor) => ({
            done: await store.listDone(cursor),
            due: await store.dueOutbox(cursor, nowMicros, 1000),
            next: await store.nextOutboxDue(cursor),
            timers: await store.dueTimers(subscription, cursor.partition, EVER, 1000),
            nextTimer: await store.nextTimerDue(subscription, cursor.partition),
          })),
        ),
        projections: await Promise.all(
          generations.map(({ generation }) =>
            store.listProjections({ tenant: '', projector: subscription, generation, prefix: '', limit: 1000 }),
          ),
        ),
      };
    }),
  );
}
