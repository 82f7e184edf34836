// Two stores are told the same, at random, and must answer the same: each is the model of the other. What they share (the
// comparisons of a work part) is what the contract suite spells out.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import type { ParkedState, PartitionKey, Store, Unit, WorkPart } from '../../src/store.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { openPostgres } from '../../src/stores/postgres/index.ts';
import { openSqlite } from '../../src/stores/sqlite/index.ts';
import { deliveryState } from '../support/delivery-state.ts';
import { testPostgres } from '../support/postgres.ts';
import { append, exactly, freshStream, outcome, unit } from '../support/store-units.ts';
import {
  definition,
  outboxKey,
  outboxRow,
  parkedKey,
  projection,
  timerKey,
  timerRow,
  work,
} from '../support/work-units.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-agreement-'));
after(() => rmSync(folder, { recursive: true }));
const postgres = await testPostgres();

const NAMES = ['one', 'two'];
const INSTANCES = ['a', 'b', 'c'];
const STREAM = freshStream();
const TARGET = freshStream();
const NOBODY = new Uint8Array(0);

/** What a step looks at to be about something that is there. */
interface Known {
  epochs: Map<string, number>;
  cursors: Map<string, number>;
  versions: number[];
  next: number;
  sent: Unit[];
}

type Step =
  | { kind: 'heartbeat'; instance: string }
  | { kind: 'leave'; instance: string }
  | { kind: 'pass'; ms: number }
  | { kind: 'declare'; name: string; generation: number; version: number }
  | { kind: 'acquire'; partition: PartitionKey; instance: string; version: number }
  | { kind: 'release'; partition: PartitionKey }
  | { kind: 'remove'; name: string; generation: number }
  | { kind: 'switch'; name: string; from: number; to: number }
  | { kind: 'commit'; units: PlannedUnit[] };

interface PlannedUnit {
  again: number | undefined;
  appends: boolean;
  stale: boolean;
  key: number | undefined;
  unholdable: boolean;
  changes: Change[];
}

/** `version`: which of the versions that were seen the change builds on; 0 for none. */
type Change =
  | { kind: 'fence'; partition: PartitionKey; late: boolean }
  | { kind: 'cursor'; partition: PartitionKey; by: number; wrong: boolean }
  | { kind: 'done'; partition: PartitionKey; position: number }
  | { kind: 'park'; partition: PartitionKey; key: string; version: number; row: [ParkedState, number] | undefined }
  | { kind: 'add'; partition: PartitionKey; position: number; index: number; lane: string; due: number }
  | { kind: 'output'; partition: PartitionKey; position: number; index: number; version: number; row: Output }
  | {
      kind: 'timer';
      name: string;
      process: string;
      timer: string;
      version: number | undefined;
      due: number | undefined;
    }
  | { kind: 'end'; name: string; process: string }
  | { kind: 'project'; name: string; generation: number; key: string; gone: boolean };

type Output = { dead: boolean; due: number } | undefined;

const name = fc.constantFrom(...NAMES);
const partition = fc.record({
  subscription: name,
  generation: fc.constantFrom(1, 1, 2),
  partition: fc.nat({ max: 1 }),
});
const position = fc.integer({ min: 1, max: 6 });
const index = fc.nat({ max: 1 });
const key = fc.constantFrom('k', 'k/2', 'l');
const version = fc.nat({ max: 4 });
const due = fc.constantFrom(0, 10, 20);
const optional = <T>(of: fc.Arbitrary<T>, freq = 3) => fc.option(of, { nil: undefined, freq });

const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constant('fence' as const), partition, late: often(false, true) }),
  fc.record({ kind: fc.constant('cursor' as const), partition, by: fc.nat({ max: 3 }), wrong: often(false, true) }),
  fc.record({ kind: fc.constant('done' as const), partition, position }),
  fc.record({
    kind: fc.constant('park' as const),
    partition,
    key,
    version,
    row: optional(fc.tuple(fc.constantFrom<ParkedState>('retrying', 'dead', 'draining'), position)),
  }),
  fc.record({ kind: fc.constant('add' as const), partition, position, index, lane: fc.constantFrom('x', 'y'), due }),
  fc.record({
    kind: fc.constant('output' as const),
    partition,
    position,
    index,
    version,
    row: optional(fc.record({ dead: fc.boolean(), due })),
  }),
  fc.record({
    kind: fc.constant('timer' as const),
    name,
    process: key,
    timer: key,
    version: optional(version, 2),
    due: optional(due),
  }),
  fc.record({ kind: fc.constant('end' as const), name, process: key }),
  fc.record({
    kind: fc.constant('project' as const),
    name,
    generation: fc.constantFrom(1, 2),
    key,
    gone: often(false, true),
  }),
);

const planned: fc.Arbitrary<PlannedUnit> = fc.record({
  again: optional(fc.nat({ max: 20 }), 6),
  appends: often(false, true),
  stale: often(false, true),
  key: optional(fc.nat({ max: 9 }), 5),
  unholdable: fc.constantFrom(...Array.from({ length: 20 }, (_, i) => i === 0)),
  changes: fc.array(change, { maxLength: 4 }),
});

const generation = fc.constantFrom(1, 2);
const instance = fc.constantFrom(...INSTANCES);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('heartbeat' as const), instance }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), instance }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.constantFrom(1, 500, 1000) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('declare' as const),
      name,
      generation,
      version: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('acquire' as const), partition, instance, version: often(1, 2) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('release' as const), partition }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const), name, generation }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('switch' as const), name, from: generation, to: generation }),
  },
  {
    weight: 14,
    arbitrary: fc.record({
      kind: fc.constant('commit' as const),
      units: fc.array(planned, { minLength: 1, maxLength: 4 }),
    }),
  },
);

/** Five times out of six. */
function often<T>(value: T, other: T): fc.Arbitrary<T> {
  return fc.constantFrom(value, value, value, value, value, other);
}

test('property: memory and SQLite answer the same to the same', async () => {
  let files = 0;
  await agree((clock) => openSqlite({ path: join(folder, `${++files}.db`), clock }));
});

test('property: memory and PostgreSQL answer the same to the same', { skip: postgres.missing }, async () => {
  await agree(async (clock) => openPostgres({ connectionString: await postgres.database(), clock }));
});

/** Plays random steps to memory and to a fresh store of the kind that `open` opens. */
async function agree(open: (clock: () => number) => Promise<Store>): Promise<void> {
  let fenced = 0;
  let committed = 0;
  const play = async (steps: Step[]) => {
    let nowMicros = 1_000_000;
    const clock = () => nowMicros;
    const other = await open(clock);
    const memory = openMemory(await other.head(), clock);
    try {
      const known: Known = { epochs: new Map(), cursors: new Map(), versions: [0], next: 0, sent: [] };
      for (const name of NAMES) {
        for (const store of [memory, other]) await store.declare(definition({ name, kind: 'projector' }));
      }
      for (const one of steps) {
        if (one.kind === 'pass') nowMicros += one.ms * 1000;
        const units = one.kind === 'commit' ? one.units.map((plan) => unitOf(plan, known)) : [];
        const answers = await Promise.all([memory, other].map((store) => perform(store, one, units, known)));
        assert.deepEqual(answers[1], answers[0], JSON.stringify(one));
        for (const { kind } of Array.isArray(answers[0]) ? (answers[0] as { kind?: string }[]) : []) {
          if (kind === 'fenced') fenced++;
          if (kind === 'committed') committed++;
        }
        const states = await Promise.all([memory, other].map((store) => deliveryState(store, NAMES, 10)));
        assert.deepEqual(states[1], states[0], `after ${JSON.stringify(one)}`);
        learn(states[0]!, known);
      }
      assert.deepEqual(await other.head(), await memory.head());
    } finally {
      await other.close();
    }
  };
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), play), { numRuns: 40 });
  assert(fenced > 20 && committed > 20, `${committed} units were committed, ${fenced} fenced: both must be frequent`);
}

async function perform(store: Store, one: Step, units: Unit[], known: Known): Promise<unknown> {
  switch (one.kind) {
    case 'heartbeat':
      return store.heartbeat(one.instance, NOBODY, 1000);
    case 'leave':
      return store.leave(one.instance);
    case 'pass':
      return store.now();
    case 'declare':
      return store.declare(
        definition({ ...one, kind: 'projector', partitions: one.generation === 1 ? 2 : 1, types: [`v${one.version}`] }),
      );
    case 'acquire':
      return store.acquire(one.partition, one.instance, one.version);
    case 'release':
      return store.release(one.partition, known.epochs.get(text(one.partition)) ?? 0);
    case 'remove':
      return store.removeGeneration(one.name, one.generation, 2);
    case 'switch':
      return store.switchGeneration(one.name, one.from, one.to);
    case 'commit':
      return store.commit(units).catch((error) => error.reason);
  }
}

function unitOf(plan: PlannedUnit, known: Known): Unit {
  if (plan.again !== undefined && known.sent.length > 0) return known.sent[plan.again % known.sent.length]!;
  const parts = work();
  for (const change of plan.changes) add(parts, change, known);
  const one = unit({
    appends: plan.appends ? [append(STREAM, exactly(known.next + (plan.stale ? 1 : 0)))] : [],
    outcomes: plan.key === undefined ? [] : [outcome({ tenant: '', kind: 'reaction', key: `${plan.key}` })],
    work: plan.unholdable ? work({ ...parts, projections: [projection('one', '\0')] }) : parts,
  });
  known.sent.push(one);
  return one;
}

/** A row that is named already stays as it is: a unit names it once. */
function add(parts: WorkPart, change: Change, known: Known): void {
  const into = <T>(rows: readonly T[], row: T, place: (row: T) => unknown) => {
    if (!rows.some((other) => JSON.stringify(place(other)) === JSON.stringify(place(row)))) (rows as T[]).push(row);
  };
  switch (change.kind) {
    case 'fence': {
      const epoch = (known.epochs.get(text(change.partition)) ?? 0) + (change.late ? 1 : 0);
      return into(parts.fences, { partition: change.partition, epoch }, (row) => row.partition);
    }
    case 'cursor': {
      const { partition } = change;
      const epoch = known.epochs.get(text(partition)) ?? 0;
      const from = (known.cursors.get(text(partition)) ?? 0) + (change.wrong ? 1 : 0);
      return into(parts.cursors, { partition, epoch, from, to: from + change.by }, (row) => row.partition);
    }
    case 'done':
      return into(parts.done, { partition: change.partition, position: change.position }, (row) => row);
    case 'park': {
      const { partition, key, row } = change;
      const [state, through] = row ?? [];
      const parked = row && parkedKey(partition, key, { state: state!, through: state === 'draining' ? through! : 0 });
      const version = versionOf(change.version, known);
      return into(parts.parked, { partition, key, version, row: parked }, (row) => [row.partition, row.key]);
    }
    case 'add': {
      const { partition, lane, due } = change;
      const row = outboxRow(partition, change, { lane, dueAtMicros: due, target: TARGET, correlationId: 'c' });
      return into(parts.outboxAdded, row, outboxKey);
    }
    case 'output': {
      const { partition, row } = change;
      const key = outboxKey(outboxRow(partition, change));
      if (parts.outboxAdded.some((other) => JSON.stringify(outboxKey(other)) === JSON.stringify(key))) return;
      const state = row?.dead ? 'dead' : 'ready';
      const next = row && outboxRow(partition, change, { state, dueAtMicros: row.due, attempts: 1 });
      // Never 0, which no store can hold.
      const version = versionOf(change.version, known) || 1;
      return into(parts.outboxChanged, { key, version, row: next }, (row) => row.key);
    }
    case 'timer': {
      const key = timerKey(change.name, change.process, change.timer);
      const row = change.due === undefined ? undefined : timerRow(key, change.due, { partition: change.due / 10 });
      const version = change.version === undefined ? undefined : versionOf(change.version, known);
      return into(parts.timers, { key, version, row }, (row) => row.key);
    }
    case 'end': {
      const { name: subscription, process } = change;
      return into(parts.timersEnded, { tenant: '', subscription, process }, (row) => row);
    }
    case 'project': {
      const { name, generation, key, gone } = change;
      const row = projection(name, key, { generation, ...(gone && { payload: undefined }) });
      return into(parts.projections, row, (row) => [row.projector, row.generation, row.key]);
    }
  }
}

/** Of those that are there now; 0 is none. */
function versionOf(number: number, known: Known): number {
  return known.versions[number % known.versions.length]!;
}

function learn(states: Awaited<ReturnType<typeof deliveryState>>, known: Known): void {
  known.versions = [0];
  for (const { cursors, parked, outbox, partitions } of states) {
    for (const cursor of cursors) {
      known.epochs.set(text(cursor), cursor.epoch);
      known.cursors.set(text(cursor), cursor.position);
    }
    const timers = partitions.flatMap((one) => one.timers);
    known.versions.push(...[...parked, ...outbox, ...timers].map((row) => row.version));
  }
}

function text({ subscription, generation, partition }: PartitionKey): string {
  return `${subscription}/${generation}/${partition}`;
}
