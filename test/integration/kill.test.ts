import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { Auditor } from '../chaos/auditor.ts';
import type { Entry } from '../chaos/ledger.ts';
import type { Answer, Sent } from '../chaos/load.ts';
import { sqliteTables } from '../chaos/tables.ts';

const SCRIPT = join(import.meta.dirname, '../chaos/chaos.ts');

test('kill -9 under load: every acknowledged command is there once, and a repeat changes nothing', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT, '--store', 'sqlite', '--times', '5']);
  t.diagnostic(stdout.split('\n')[0]!);
  const summary = JSON.parse(stdout.trimEnd().split('\n').at(-1)!);
  assert.equal(summary.faults, 0);
  assert.deepEqual(summary.done, { kill: 5 });
  // All kinds of answers, or the run proves less than it says.
  for (const kind of ['accepted', 'empty', 'rejected', 'conflicts', 'events']) assert(summary[kind] > 0, stdout);
  const { duplicates, conflicts } = summary.repeated_at_end;
  assert.equal(duplicates + conflicts, summary.commands);
});

describe('the auditor finds what is planted:', () => {
  const folder = mkdtempSync(join(tmpdir(), 'daybook-auditor-'));
  after(() => rmSync(folder, { recursive: true }));
  let files = 0;

  /** Two streams: command 0 with two events and command 1 in the first, command 2 in the second. */
  function rows() {
    const row = (position: number, stream: number, sequence: number, unit: number, entry: Entry) => ({
      position,
      stream,
      sequence,
      unit,
      entry,
    });
    return [
      row(1, 1, 0, 1, { command: 0, part: 0, parts: 2, amount: 5, balance: 5 }),
      row(2, 1, 1, 1, { command: 0, part: 1, parts: 2, amount: 1, balance: 6 }),
      row(3, 2, 0, 2, { command: 2, part: 0, parts: 1, amount: 7, balance: 7 }),
      row(4, 1, 2, 3, { command: 1, part: 0, parts: 1, amount: -6, balance: 0 }),
    ];
  }

  function accepted(sequences: number[], positions: number[]): Answer {
    return { kind: 'events', digest: '', duplicate: false, sequences, positions };
  }

  const answers = [accepted([0, 1], [1, 2]), accepted([2], [4]), accepted([0], [3])];

  function database(events: ReturnType<typeof rows>, heads: object, last: number): string {
    const path = join(folder, `${++files}.db`);
    const db = new DatabaseSync(path);
    db.exec(`
      CREATE TABLE log (last_position INTEGER);
      CREATE TABLE streams (id INTEGER, domain TEXT, root BLOB, next_sequence INTEGER);
      CREATE TABLE events (position INTEGER, stream INTEGER, sequence INTEGER, unit_id BLOB, created_at INTEGER,
        type_url TEXT, origin TEXT, payload BLOB);
    `);
    db.prepare('INSERT INTO log VALUES (?)').run(last);
    for (const [id, next] of Object.entries(heads))
      db.prepare(`INSERT INTO streams VALUES (?, '', '', ?)`).run(id, next);
    const insert = db.prepare(`INSERT INTO events VALUES (?, ?, ?, ?, ?, '', NULL, ?)`);
    for (const { position, stream, sequence, unit, entry } of events) {
      insert.run(position, stream, sequence, Uint8Array.of(unit), position, Buffer.from(JSON.stringify(entry)));
    }
    db.close();
    return path;
  }

  function sent(told: (Answer | undefined)[]): Sent[] {
    return told.map((answer, number) => ({ number, command: {} as never, parts: [2, 1, 1][number]!, answer }));
  }

  /** What it says of a database with these rows, after these answers. */
  async function audit(
    events: ReturnType<typeof rows>,
    told: (Answer | undefined)[],
    heads = { 1: 3, 2: 1 },
    last = 4,
  ) {
    const auditor = new Auditor(sqliteTables(database(events, heads, last)));
    await auditor.audit(sent(told));
    return auditor.faults.join('; ');
  }

  test('nothing in a log that is right, whether the last command was answered or not', async () => {
    assert.equal(await audit(rows(), answers), '');
    assert.equal(await audit(rows(), [...answers.slice(0, 2), undefined]), '');
  });

  test('an acknowledged command that is not there', async () => {
    const faults = await audit(rows().slice(0, 3), answers, { 1: 2, 2: 1 }, 3);
    assert.equal(faults, 'command 1: acknowledged at positions [4], in the log at [], with sequences [2] and []');
  });

  test('a command that is there twice', async () => {
    const twice = { ...rows()[2]!, position: 5, sequence: 1, unit: 9 };
    assert.match(
      await audit([...rows(), twice], answers, { 1: 3, 2: 2 }, 5),
      /position 5, command 2: in a second unit/,
    );
  });

  test('half a command', async () => {
    const half = rows().filter(({ position }) => position !== 2);
    assert.match(await audit(half, [undefined]), /command 0: 1 of its 2 events are in the log/);
  });

  test('gaps in positions and in sequences, and heads that are wrong', async () => {
    const late = rows().map((row) => (row.position === 4 ? { ...row, position: 5, sequence: 3 } : row));
    const faults = await audit(late, []);
    assert.match(faults, /position 3 is followed by 5/);
    assert.match(faults, /position 5, stream 1: sequence 3, expected 2/);
    assert.match(faults, /the log's head says 4, its events end at 5/);
    assert.match(faults, /stream 1: its head says 3, its events end at 4/);
  });

  test('a decision on a stale history, and one that was rejected and stored', async () => {
    const stale = rows().map((row) => (row.position === 4 ? { ...row, entry: { ...row.entry, balance: -1 } } : row));
    assert.match(await audit(stale, []), /decided for a balance of -1, the history says 0/);
    const rejection: Answer = { kind: 'rejection', digest: '', duplicate: false };
    assert.match(await audit(rows(), [rejection]), /command 0: answered with a rejection, and in the log/);
  });

  test('a command that was answered after the last audit', async () => {
    const auditor = new Auditor(sqliteTables(database([], {}, 0)));
    const commands = sent([undefined]);
    await auditor.audit(commands);
    commands[0]!.answer = answers[0];
    await auditor.audit(commands);
    assert.match(auditor.faults.join('; '), /command 0: acknowledged at positions \[1,2\], in the log at \[\]/);
  });
});
