// Export and import over real stores: what comes out goes in, and comes out the same.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import type { Store, Unit } from '../../src/store.ts';
import { openMemory } from '../../src/stores/memory.ts';
import { openSqlite } from '../../src/stores/sqlite/index.ts';
import { verifyLog } from '../../src/verify.ts';
import { ANY, append, exactly, freshStream, NO_STREAM, page, unit, writing } from '../support/store-units.ts';
import { exported, imported, plan, unitsOfPlan } from './support.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-transfer-'));
after(() => rmSync(folder, { recursive: true }));
let files = 0;
const openMember = {
  memory: async () => openMemory({ logId: `${++files}`, incarnation: '0' }),
  sqlite: () => openSqlite({ path: join(folder, `${++files}.db`) }),
};
const { memory, sqlite } = openMember;

async function filled(units: readonly Unit[], open = memory): Promise<Store> {
  const store = await open();
  for (const result of await store.commit(units)) assert.equal(result.kind, 'committed');
  return store;
}

/** Some units over two streams, the last over both. */
function someUnits(): Unit[] {
  const [a, b] = [freshStream(), freshStream({ tenant: 'acme', domain: 'stock' })];
  const units = [writing(a, exactly(0), 2), writing(b, exactly(0)), writing(a, exactly(2)), writing(b, exactly(1), 3)];
  return [...units, unit({ appends: [append(a, exactly(3), 2), append(b, exactly(4))] })];
}

const linesOf = (text: string) => text.split('\n').slice(0, -1);
const textOf = (lines: string[]) => lines.map((line) => `${line}\n`).join('');

describe('what is exported and imported into an empty log', () => {
  const ways = [
    ['memory', 'memory', 150],
    ['memory', 'sqlite', 10],
    ['sqlite', 'memory', 10],
    ['sqlite', 'sqlite', 10],
  ] as const;
  for (const [from, to, numRuns] of ways) {
    test(`is exported again byte by byte: ${from} to ${to}`, async () => {
      await fc.assert(
        fc.asyncProperty(plan(), fc.integer({ min: 1, max: 3000 }), async (planned, pieceBytes) => {
          const units = unitsOfPlan(planned);
          const [one, other] = [await filled(units, openMember[from]), await openMember[to]()];
          const text = await exported(one);
          const found = await imported(other, text, {}, pieceBytes);
          const events = linesOf(text).length;
          assert.deepEqual(found, { events, units: units.length, known: 0 });
          assert.equal(await exported(other), text);
          assert.equal((await verifyLog(other)).fault, undefined);
          assert.deepEqual(await imported(other, text), { events: 0, units: 0, known: events }, 'a second time');
          assert.equal(await exported(other), text);
          for (const outcome of units.flatMap(({ outcomes }) => outcomes)) {
            assert.deepEqual(await other.readOutcome(outcome), await one.readOutcome(outcome));
          }
          await Promise.all([one.close(), other.close()]);
        }),
        { numRuns },
      );
    });
  }

  test('keeps ids, times and sequences, so that a unit that is sent again is committed where it was', async () => {
    const units = someUnits();
    const [one, other] = [await filled(units), await memory()];
    await imported(other, await exported(one));
    assert.deepEqual(await other.commit(units), await one.commit(units));
  });

  test('in parts: long logs, and units that lie across two reads', async () => {
    const streams = Array.from({ length: 7 }, () => freshStream());
    const units = Array.from({ length: 900 }, (_, i) =>
      unit({ appends: streams.map((stream) => append(stream, exactly(i))) }),
    );
    const [one, other] = [await filled(units, sqlite), await sqlite()];
    const text = await exported(one);
    assert.equal(linesOf(text).length, 6300);
    assert.deepEqual(await imported(other, text, {}, 1 << 16), { events: 6300, units: 900, known: 0 });
    assert.equal(await exported(other), text);
    assert.deepEqual(await imported(other, text, {}, 1 << 16), { events: 0, units: 0, known: 6300 });
    await Promise.all([one.close(), other.close()]);
  });
});

describe('an import that ended anywhere', () => {
  test('is ended by the next one: cut at every byte where it matters, and at every line', async () => {
    const one = await filled(someUnits());
    const text = await exported(one);
    const whole = linesOf(text);
    const ends = whole.map((_, i) => textOf(whole.slice(0, i + 1)).length);
    for (const cut of [0, 1, 100, ...ends.flatMap((end) => [end - 1, end, end + 1])]) {
      const other = await memory();
      const found = await imported(other, text.slice(0, cut));
      // Of units with 2, 1, 1, 3 and 3 events. A last line may lack its end.
      const lines = ends.filter((end) => end - 1 <= cut).length;
      const stored = [2, 3, 4, 7, 10].filter((events) => events <= lines).at(-1) ?? 0;
      assert.equal((await other.head()).position, stored, `cut at ${cut}`);
      const half = stored < lines || Math.min(cut, text.length) > (ends[lines - 1] ?? 0);
      assert.equal(found.fault !== undefined, half, `cut at ${cut}: ${found.fault}`);
      const again = await imported(other, text);
      assert.deepEqual(again, { events: 10 - stored, units: again.units, known: stored });
      assert.equal(await exported(other), text);
    }
  });

  test('tells of a unit that is cut off, and stores nothing of it', async () => {
    const lines = linesOf(await exported(await filled(someUnits())));
    const at = async (text: string) => (await imported(await memory(), text)).fault;
    assert.match(
      (await at(textOf(lines.slice(0, 9))))!,
      /^the file ends in the middle of a unit: unit [0-9a-f-]{36} from line 8 on should have 3 events and has 2$/,
    );
    assert.match(
      (await at(`${textOf(lines.slice(0, 2))}${lines[2]!.slice(0, 50)}`))!,
      /^line 3: the file ends in the middle of it$/,
    );
    assert.match(
      (await at(textOf([...lines.slice(0, 5), ...lines.slice(7)])))!,
      /^line 6: another unit begins here, and unit [0-9a-f-]{36} from line 5 on should have 3 events and has 1$/,
    );
  });

  test('a signal ends it between two commits', async () => {
    const text = await exported(await filled(someUnits()));
    const other = await memory();
    await assert.rejects(imported(other, text, { signal: AbortSignal.abort(new Error('enough')) }), /enough/);
    await assert.rejects(
      (async () => exported(await filled(someUnits()), { signal: AbortSignal.abort(new Error('enough')) }))(),
      /enough/,
    );
  });
});

describe('an import says with a line number what keeps it from', () => {
  const changed = (line: string, change: Record<string, unknown>) => JSON.stringify({ ...JSON.parse(line), ...change });
  /** Imports what `edit` makes of an export, into a log with nothing or what `before` put there. */
  async function faultOf(edit: (lines: string[]) => string[], before: (units: Unit[]) => Unit[] = () => []) {
    const units = someUnits();
    const lines = linesOf(await exported(await filled(units)));
    const other = await filled(before(units));
    const start = await exported(other);
    const found = await imported(other, textOf(edit(lines)));
    const end = await exported(other);
    assert(end.startsWith(start));
    return { fault: found.fault, events: found.events, known: found.known };
  }
  const order = 'order/[0-9a-f-]{36}';

  test('a wrong line: what comes before is stored, nothing of its unit', async () => {
    const { fault, events } = await faultOf((lines) => lines.toSpliced(5, 1, changed(lines[5]!, { id: 'x' })));
    assert.match(fault!, /^line 6: id: expected "acme\/stock\/[0-9a-f-]{36}\/2", found "x"$/);
    assert.equal(events, 4);
  });

  test('a gap in a stream', async () => {
    const { fault, events } = await faultOf((lines) => lines.toSpliced(3, 1));
    assert.match(
      fault!,
      new RegExp(`^line 7: ${order}: expected sequence 2, found 3: the events between are missing$`),
    );
    assert.equal(events, 6);
  });

  test('a stream that has other events', async () => {
    const { fault, events } = await faultOf(
      (lines) => lines,
      (units) => [writing(units[1]!.appends[0]!.stream, NO_STREAM, 2)],
    );
    assert.match(
      fault!,
      /^line 3: acme\/stock\/[0-9a-f-]{36}: the log has another event with sequence 0: its unitid differs$/,
    );
    assert.equal(events, 2);
  });

  for (const [name, change] of [
    ['data_base64', { data_base64: 'AAAA' }],
    ['time', { time: '2026-01-01T00:00:00.000000Z' }],
    ['correlationid', { correlationid: 'another' }],
    ['metadata', { metadata: '{"a":"b"}' }],
    ['origin', { origin: '{}' }],
    ['occurredat', { occurredat: '2026-01-01T00:00:00.000000Z' }],
    ['typeurl', { typeurl: 'a.b/c.D', type: 'c.D' }],
  ] as const) {
    test(`an event that is there with another ${name}`, async () => {
      const { fault, known } = await faultOf(
        (lines) => lines.toSpliced(3, 1, changed(lines[3]!, change)),
        (units) => units,
      );
      assert.match(
        fault!,
        new RegExp(`^line 4: ${order}: the log has another event with sequence 2: its ${name} differs$`),
      );
      assert.equal(known, 3);
    });
  }

  test('a unit of which only a part is there, as after an import of one domain', async () => {
    const { fault } = await faultOf(
      (lines) => lines,
      (units) => [...units.slice(0, 4), { ...units[4]!, appends: units[4]!.appends.slice(0, 1) }],
    );
    assert.match(
      fault!,
      /^line 10: acme\/stock\/.*: expected all events of a unit in the log or none, found a part of it there: the log ends at sequence 4 of this stream$/,
    );
  });

  test('a time that goes back within a stream', async () => {
    const { fault } = await faultOf((lines) =>
      lines.toSpliced(3, 1, changed(lines[3]!, { time: '2001-01-01T00:00:00.000000Z' })),
    );
    assert.match(
      fault!,
      /^line 4: order.*: time: expected nothing before 2023-.*, the time of sequence 1, found 2001-/,
    );
  });

  test('units that are mixed up', async () => {
    const of = async (edit: (lines: string[]) => string[]) => (await faultOf(edit)).fault!;
    assert.match(await of((l) => l.toSpliced(0, 2, l[1]!, l[0]!)), /^line 2: sequence: expected 2, found 0$/);
    assert.match(
      await of((l) => l.toSpliced(7, 3, l[7]!, l[9]!, l[8]!)),
      /^line 10: unit: expected the events of one stream together, found more of \/order\/[0-9a-f]{32} behind those of another$/,
    );
    assert.match(
      await of((l) => l.toSpliced(1, 1, changed(l[1]!, { unitevents: 3 }))),
      /^line 2: unitevents: expected 2, found 3$/,
    );
    assert.match(
      await of((l) => l.toSpliced(1, 1, changed(l[1]!, { correlationid: 'x' }))),
      /^line 2: correlationid: expected [0-9a-f-]{36}, found x$/,
    );
  });

  test('a fact that another event records already', async () => {
    const fact = '{"external_source":"stripe","external_id":"evt_1"}';
    const records = (lines: string[]) => [...lines.slice(0, 2), changed(lines[2]!, { origin: fact })];
    const twice = (lines: string[]) => lines.slice(0, 2).map((line) => changed(line, { origin: fact }));
    assert.match((await faultOf(twice)).fault!, /^line 2: order.*: a unit records a fact once, not twice$/);
    for (const dryRun of [false, true]) {
      const units = someUnits();
      const lines = linesOf(await exported(await filled(units)));
      const other = await memory();
      const later = records(lines).concat(changed(lines[4]!, { unitevents: 1, origin: fact }));
      const { fault, events } = await imported(other, textOf(later), { dryRun });
      assert.match(fault!, /^line 4: acme\/stock.*: sequence 1 is the fact "evt_1" of stripe, and that is recorded/);
      assert.equal(events, 3);
    }
  });

  test('bytes that are no text, and lines without an end', async () => {
    const lines = linesOf(await exported(await filled(someUnits())));
    const bytes = Buffer.concat([Buffer.from(textOf(lines.slice(0, 2))), Buffer.of(0xff, 10)]);
    const other = await memory();
    assert.equal((await imported(other, bytes)).fault, 'line 3: expected UTF-8, found "other bytes"');
    assert.equal((await other.head()).position, 2);
    const endless = Buffer.alloc(17 * 1024 * 1024, 'x');
    assert.match(
      (await imported(await memory(), endless, {}, 1 << 20)).fault!,
      /^line 1: expected at most 16777216 bytes/,
    );
  });

  test('empty lines, and line ends of Windows, are no fault', async () => {
    const text = await exported(await filled(someUnits()));
    const other = await memory();
    assert.equal((await imported(other, `\n${text.replaceAll('\n', '\r\n')}\r\n\n`)).fault, undefined);
    assert.equal(await exported(other), text);
  });
});

describe('a dry run', () => {
  test('counts and stores nothing, also where the file goes on behind what is there', async () => {
    const units = someUnits();
    const text = await exported(await filled(units));
    for (const there of [0, 2, 5]) {
      const other = await filled(units.slice(0, there));
      const before = await exported(other);
      const events = linesOf(text).length - linesOf(before).length;
      const found = await imported(other, text, { dryRun: true });
      assert.deepEqual(found, { events, units: 5 - there, known: 10 - events });
      assert.equal(await exported(other), before);
      const twice = await imported(other, text + text, { dryRun: true });
      assert.deepEqual([twice.fault, twice.known], [undefined, 20 - events]);
    }
  });

  test('finds the same faults', async () => {
    const lines = linesOf(await exported(await filled(someUnits())));
    const { fault } = await imported(await memory(), textOf(lines.toSpliced(3, 1)), { dryRun: true });
    assert.match(fault!, /^line 7: order.*: expected sequence 2, found 3/);
  });
});

describe('an export of a part', () => {
  test('from a position: what was exported before and the rest are the whole', async () => {
    const one = await filled(someUnits());
    const text = await exported(one);
    const begin = linesOf(text).slice(0, 4);
    const rest = await exported(one, { fromPosition: 5 });
    assert.equal(textOf(begin) + rest, text);
    assert.equal(await exported(one, { fromPosition: 11 }), '', 'behind the last one there is nothing yet');
    const other = await memory();
    await imported(other, textOf(begin));
    await imported(other, rest);
    assert.equal(await exported(other), text);
  });

  test('from within a unit, or from beyond the log, is refused with a sentence', async () => {
    const one = await filled(someUnits());
    const units = 'lies within a unit, and units are exported whole: begin at';
    await assert.rejects(exported(one, { fromPosition: 2 }), { message: `position 2 ${units} 1` });
    await assert.rejects(exported(one, { fromPosition: 10 }), { message: `position 10 ${units} 8` });
    await assert.rejects(exported(one, { fromPosition: 12 }), {
      message: /^position 12 lies beyond the log: it ends at/,
    });
  });

  test('of a tenant or of domains: their streams whole, and what is imported is exported the same but for positions', async () => {
    const one = await filled(someUnits());
    const all = linesOf(await exported(one)).map((line) => JSON.parse(line));
    const without = (lines: string[]) => lines.map((line) => ({ ...JSON.parse(line), position: '' }));
    for (const [filter, keep] of [
      [{ tenant: 'acme' }, 'stock'],
      [{ tenant: '' }, 'order'],
      [{ domains: ['stock'] }, 'stock'],
      [{ domains: ['order', 'other'], tenant: '' }, 'order'],
    ] as const) {
      const lines = linesOf(await exported(one, filter));
      assert.deepEqual(
        lines.map((line) => JSON.parse(line).position),
        all.filter(({ domain }) => domain === keep).map(({ position }) => position),
      );
      const other = await memory();
      assert.equal((await imported(other, textOf(lines))).fault, undefined);
      const again = linesOf(await exported(other));
      assert.deepEqual(without(again), without(lines));
      assert.deepEqual((await imported(other, textOf(lines))).known, lines.length);
    }
  });

  test('ends where the log ended when it began', async () => {
    const one = await filled(someUnits());
    const busy: Store = Object.create(one, { head: { value: () => one.head() } });
    busy.readLog = async (read) => {
      await one.commit([writing(freshStream(), ANY, [page()])]);
      return one.readLog(read);
    };
    assert.equal(linesOf(await exported(busy)).length, 10);
  });
});
