// How many units per second PostgreSQL takes: `node bench/postgres.ts [seconds] [minutes]`. It starts a server of its own, which syncs to the
// disk. Units of one event of 200 bytes to new streams or to 1,000 of them, with and without an idempotency outcome; one batch at a time. Then
// several daemons at once, reading back, and for so many minutes appends beside a snapshot that somebody holds open, in turns with appends to
// another database where nobody does, so that what else the machine does concerns both.

import pg from 'pg';
import { toTimestamp } from '../src/model/time.ts';
import { systemRuntime } from '../src/runtime.ts';
import type { Store, Unit } from '../src/store.ts';
import { openPostgres } from '../src/stores/postgres/index.ts';
import { startPostgres } from '../test/support/postgres.ts';

const SECONDS = Number(process.argv[2] ?? 2);
const SNAPSHOT_MINUTES = Number(process.argv[3] ?? 0.5);
const runtime = systemRuntime();
const frame = new Uint8Array(1024 * 1024).map((_, i) => i * 31);
const hash = frame.subarray(0, 32);
const sequences = new Map<number, number>();
const roots = Array.from({ length: 4000 }, () => runtime.uuid());

function unit(n: number, first: number, streams: number, keyed: boolean): Unit {
  const number = first + (n % streams);
  const sequence = sequences.get(number) ?? 0;
  if (streams > 0) sequences.set(number, sequence + 1);
  const offset = (n % 4000) * 256;
  const page = {
    sequence: 0,
    createdAt: toTimestamp(runtime.nowMicros()),
    event: { typeUrl: 'type.googleapis.com/bench.v1.SomethingHappened', value: frame.subarray(offset, offset + 200) },
    position: 0,
    origin: undefined,
    metadata: {},
    unitId: new Uint8Array(0),
    occurredAt: undefined,
  };
  const key = Buffer.from(runtime.uuid()).toString('hex');
  const outcome = { tenant: '', kind: 'client' as const, key, hash, body: hash, correlationId: undefined };
  return {
    unitId: runtime.uuid(),
    appends: [
      {
        stream: { tenant: '', domain: 'bench', root: streams === 0 ? runtime.uuid() : roots[number]! },
        correlationId: key,
        expect: streams === 0 ? { kind: 'no-stream' } : { kind: 'exactly', nextSequence: sequence },
        pages: [page],
      },
    ],
    expectations: [],
    snapshots: [],
    outcomes: keyed ? [{ ...outcome, expiresAtMicros: runtime.nowMicros() + 1e9 }] : [],
  };
}

async function measure(store: Store, batch: number, streams: number, keyed: boolean, first = 0): Promise<number> {
  const begin = performance.now();
  let n = 0;
  while (performance.now() - begin < SECONDS * 1000) {
    const units = Array.from({ length: batch }, (_, i) => unit(n + i, first, streams, keyed));
    for (const result of await store.commit(units)) {
      if (result.kind !== 'committed') throw new Error(`a unit ended as ${result.kind}`);
    }
    n += batch;
  }
  return Math.round(n / ((performance.now() - begin) / 1000));
}

const server = await startPostgres(['fsync=on', 'autovacuum=on']);
if (typeof server === 'string') throw new Error(server);
const connectionString = server.url('postgres');
const store = await openPostgres({ connectionString });
console.log(`PostgreSQL ${server.version}: units/s`);
console.log('batch   new streams    new, keyed   1,000 streams   1,000, keyed');
for (const batch of [1, 20, 100, 500]) {
  const figures: number[] = [];
  for (const streams of [0, 1000]) {
    for (const keyed of [false, true]) figures.push(await measure(store, batch, streams, keyed));
  }
  console.log(
    `${String(batch).padStart(5)}${figures.map((figure) => figure.toLocaleString('en').padStart(14)).join('')}`,
  );
}

const others = await Promise.all([1, 2, 3].map(() => openPostgres({ connectionString })));
const four = await Promise.all(
  [store, ...others].map((one, i) => measure(one, 20, i === 0 ? 1000 : 500, true, i * 1000)),
);
console.log(`4 daemons, batches of 20, keyed: ${four.reduce((a, b) => a + b).toLocaleString('en')} in all`);

const { position } = await store.head();
const begin = performance.now();
for (let after = 0; after < position; ) {
  after = (await store.readLog({ after, filter: {}, maxEvents: 1000, maxBytes: 1 << 20 })).through;
}
const raw = new pg.Client(connectionString);
await raw.connect();
const between = performance.now();
for (let after = 0; after < position; after += 1000) {
  await raw.query('SELECT * FROM daybook.events WHERE position > $1 AND position <= $2 ORDER BY position', [
    after,
    after + 1000,
  ]);
}
const rate = (from: number, to: number) => Math.round((position / (to - from)) * 1000).toLocaleString('en');
console.log(
  `read back, ${position.toLocaleString('en')} events: ${rate(begin, between)}/s; raw SELECT: ${rate(between, performance.now())}/s`,
);
await raw.end();
await Promise.all([store, ...others].map((one) => one.close()));
await besideSnapshot(connectionString);
process.exit(0);

async function besideSnapshot(admin: string): Promise<void> {
  const client = new pg.Client(admin);
  await client.connect();
  const names = ['beside_snapshot', 'alone'];
  for (const name of names) await client.query(`CREATE DATABASE ${name}`);
  await client.end();
  const urls = names.map((name) => admin.replace(/[^/]*$/, name));
  const stores = await Promise.all(urls.map((url) => openPostgres({ connectionString: url })));
  // Streams of their own: what is known of them is known by number.
  const turn = (i: number) => measure(stores[i]!, 100, 500, true, 2500 + i * 1000);
  for (const i of [0, 1]) await turn(i);
  const holder = new pg.Client(urls[0]);
  await holder.connect();
  await holder.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM daybook.streams');
  const ratios: number[] = [];
  const endMs = performance.now() + SNAPSHOT_MINUTES * 60_000;
  while (performance.now() < endMs || ratios.length < 2) {
    const beside = await turn(0);
    ratios.push(beside / (await turn(1)));
  }
  await holder.query('COMMIT');
  await holder.end();
  await Promise.all(stores.map((one) => one.close()));
  const median = (all: number[]) => all.toSorted((a, b) => a - b)[all.length >>> 1]!.toFixed(2);
  const third = Math.ceil(ratios.length / 3);
  console.log(
    `beside a snapshot held open for ${SNAPSHOT_MINUTES} minutes, against none, batches of 100, keyed, ${ratios.length} pairs: ` +
      `median ${median(ratios)}; of the first third ${median(ratios.slice(0, third))}, of the last ${median(ratios.slice(-third))}`,
  );
}
