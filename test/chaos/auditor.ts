// Checks what senders were told against what is in the database file. Shares no code with the daemon: it reads the tables
// with SQL of its own, beside the running daemon.

import { DatabaseSync } from 'node:sqlite';
import type { Entry } from './ledger.ts';
import type { Sent } from './load.ts';

interface EventRow {
  position: number;
  stream: number;
  sequence: number;
  unit_id: Uint8Array;
  created_at: number;
  payload: Uint8Array;
}

interface Stored {
  unit: string;
  sequences: number[];
  positions: number[];
}

interface Stream {
  next: number;
  balance: number;
  lastCreatedAt: number;
}

export class Auditor {
  readonly faults: string[] = [];
  /** Everything at or below was read. */
  position = 0;
  readonly #path: string;
  readonly #streams = new Map<number, Stream>();
  /** By number of the command. */
  readonly #stored = new Map<number, Stored>();
  /** Commands below have been compared with the log. */
  #compared = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Reads what is new. Whatever was answered before the call must be there. */
  audit(sent: readonly Sent[]): void {
    this.#read((db) => {
      // One transaction: the head that is compared is the one of the events that are read.
      db.exec('BEGIN');
      const statement = db.prepare(
        'SELECT position, stream, sequence, unit_id, created_at, payload FROM events WHERE position > ? ORDER BY position',
      );
      for (const row of statement.iterate(this.position)) this.#take(row as unknown as EventRow);
      const { last_position } = db.prepare('SELECT last_position FROM log').get() as { last_position: number };
      if (last_position !== this.position)
        this.#fault(`the log's head says ${last_position}, its events end at ${this.position}`);
      for (const row of db.prepare('SELECT id, next_sequence FROM streams').iterate()) {
        const { id, next_sequence } = row as { id: number; next_sequence: number };
        const next = this.#streams.get(id)?.next ?? 0;
        if (next !== next_sequence)
          this.#fault(`stream ${id}: its head says ${next_sequence}, its events end at ${next}`);
      }
      db.exec('COMMIT');
    });
    this.#compare(sent);
  }

  /** Of the log and of what is remembered under keys: nothing was added as long as it is the same. */
  head(): { position: number; outcomes: number } {
    return this.#read((db) => ({
      position: (db.prepare('SELECT max(position) AS n FROM events').get() as { n: number | null }).n ?? 0,
      outcomes: (db.prepare('SELECT count(*) AS n FROM outcomes').get() as { n: number }).n,
    }));
  }

  get streams(): number {
    return this.#streams.size;
  }

  #read<T>(look: (db: DatabaseSync) => T): T {
    const db = new DatabaseSync(this.#path, { readOnly: true, timeout: 5000 });
    try {
      return look(db);
    } finally {
      db.close();
    }
  }

  #take(row: EventRow): void {
    if (row.position !== this.position + 1) this.#fault(`position ${this.position} is followed by ${row.position}`);
    this.position = row.position;
    const entry = JSON.parse(Buffer.from(row.payload).toString()) as Entry;
    this.#takeInStream(row, entry);
    this.#takeOfCommand(row, entry);
  }

  #takeInStream(row: EventRow, entry: Entry): void {
    const stream = this.#streams.get(row.stream) ?? { next: 0, balance: 0, lastCreatedAt: 0 };
    this.#streams.set(row.stream, stream);
    const where = `position ${row.position}, stream ${row.stream}`;
    if (row.sequence !== stream.next) this.#fault(`${where}: sequence ${row.sequence}, expected ${stream.next}`);
    if (row.created_at < stream.lastCreatedAt) this.#fault(`${where}: older than the event before it`);
    stream.next = row.sequence + 1;
    stream.lastCreatedAt = row.created_at;
    stream.balance += entry.amount;
    if (entry.balance !== stream.balance)
      this.#fault(`${where}: decided for a balance of ${entry.balance}, the history says ${stream.balance}`);
  }

  #takeOfCommand(row: EventRow, entry: Entry): void {
    const unit = Buffer.from(row.unit_id).toString('hex');
    const stored = this.#stored.get(entry.command) ?? { unit, sequences: [], positions: [] };
    this.#stored.set(entry.command, stored);
    const where = `position ${row.position}, command ${entry.command}`;
    if (stored.unit !== unit) this.#fault(`${where}: in a second unit`);
    if (entry.part !== stored.positions.length)
      this.#fault(`${where}: part ${entry.part} of ${entry.parts}, expected ${stored.positions.length}`);
    stored.sequences.push(row.sequence);
    stored.positions.push(row.position);
  }

  #compare(sent: readonly Sent[]): void {
    let compared = this.#compared;
    for (let i = compared; i < sent.length; i++) {
      const { number, parts, answer } = sent[i]!;
      const stored = this.#stored.get(number);
      if (stored !== undefined && stored.positions.length !== parts)
        this.#fault(`command ${number}: ${stored.positions.length} of its ${parts} events are in the log`);
      if (answer === undefined) continue;
      // Later ones may have been answered before this one.
      if (i === compared) compared++;
      if (answer.kind === 'events') this.#compareEvents(number, answer, stored);
      else if (stored !== undefined) this.#fault(`command ${number}: answered with a ${answer.kind}, and in the log`);
    }
    this.#compared = compared;
  }

  #compareEvents(
    number: number,
    answer: { sequences: number[]; positions: number[] },
    stored: Stored | undefined,
  ): void {
    const found = stored ?? { sequences: [], positions: [] };
    if (String(answer.positions) === String(found.positions) && String(answer.sequences) === String(found.sequences))
      return;
    this.#fault(
      `command ${number}: acknowledged at positions [${answer.positions}], in the log at [${found.positions}], ` +
        `with sequences [${answer.sequences}] and [${found.sequences}]`,
    );
  }

  #fault(what: string): void {
    this.faults.push(what);
  }
}
