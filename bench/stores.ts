// How many events per second each store takes: `node bench/stores.ts`. Units of one event of 200 bytes, each to a stream
// of its own or all to a hundred streams, with and without an idempotency outcome; one batch at a time.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toTimestamp } from '../src/model/time.ts';
import { systemRuntime } from '../src/runtime.ts';
import type { Store, Unit } from '../src/store.ts';
import { openMemory } from '../src/stores/memory.ts';
import { openSqlite } from '../src/stores/sqlite/index.ts';

const SECONDS = Number(process.argv[2] ?? 2);
const runtime = systemRuntime();
/** Like a frame that arrived by gRPC: payloads are small views into it. */
const frame = new Uint8Array(1024 * 1024).map((_, i) => i * 31);
const hash = frame.subarray(0, 32);

function unit(n: number, streams: number, keyed: boolean): Unit {
  const own = streams === 0;
  const root = own ? runtime.uuid() : new Uint8Array(16).fill(n % streams);
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
  return {
    unitId: runtime.uuid(),
    appends: [
      {
        stream: { tenant: '', domain: 'bench', root },
        correlationId: key,
        expect: own ? { kind: 'no-stream' } : { kind: 'exactly', nextSequence: Math.floor(n / streams) },
        pages: [page],
      },
    ],
    expectations: [],
    snapshots: [],
    outcomes: keyed
      ? [
          {
            tenant: '',
            kind: 'client',
            key,
            hash,
            body: hash,
            expiresAtMicros: runtime.nowMicros(),
            correlationId: undefined,
          },
        ]
      : [],
  };
}

async function measure(store: Store, batch: number, streams: number, keyed: boolean): Promise<number> {
  const begin = performance.now();
  let n = 0;
  while (performance.now() - begin < SECONDS * 1000) {
    const units = Array.from({ length: batch }, (_, i) => unit(n + i, streams, keyed));
    for (const result of await store.commit(units)) {
      if (result.kind !== 'committed') throw new Error(`a unit ended as ${result.kind}`);
    }
    n += batch;
  }
  return Math.round(n / ((performance.now() - begin) / 1000));
}

async function readBack(store: Store): Promise<number> {
  const begin = performance.now();
  const head = await store.head();
  for (let after = 0; after < head.position; ) {
    after = (await store.readLog({ after, filter: {}, maxEvents: 1000, maxBytes: 1 << 20 })).through;
  }
  return Math.round(head.position / ((performance.now() - begin) / 1000));
}

const members = {
  memory: () => Promise.resolve(openMemory({ logId: 'bench', incarnation: 'bench' })),
  sqlite: (folder: string) => openSqlite({ path: join(folder, 'daybook.db') }),
};

for (const [name, open] of Object.entries(members)) {
  console.log(`\n${name}: events/s`);
  console.log('batch   own streams   own, keyed   100 streams   100, keyed   read back');
  for (const batch of [1, 50, 500]) {
    const figures: number[] = [];
    for (const [streams, keyed] of [
      [0, false],
      [0, true],
      [100, false],
      [100, true],
    ] as const) {
      const folder = mkdtempSync(join(tmpdir(), 'daybook-bench-'));
      const store = await open(folder);
      figures.push(await measure(store, batch, streams, keyed));
      if (figures.length === 4) figures.push(await readBack(store));
      await store.close();
      rmSync(folder, { recursive: true });
    }
    const [a, b, c, d, e] = figures.map((figure) => figure.toLocaleString('en'));
    console.log(
      `${String(batch).padStart(5)}${a!.padStart(14)}${b!.padStart(13)}${c!.padStart(14)}${d!.padStart(13)}${e!.padStart(12)}`,
    );
  }
}
