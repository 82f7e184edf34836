// Checks what senders were told against what is in the database. Shares no code with the daemon: it reads the tables by itself,
// beside the running daemons.

import type { Entry } from './ledger.ts';
import type { Answer, Sent } from './load.ts';
import type { EventRow, Tables } from './tables.ts';

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
  readonly #tables: Tables;
  readonly #streams = new Map<string, Stream>();
  /** By number of the command. */
  readonly #stored = new Map<number, Stored>();
  /** Commands below have been compared with the log. */
  #compared = 0;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /** Reads what is new. Whatever was answered before the call must be there. */
  async audit(sent: readonly Sent[]): Promise<void> {
    const answered = sent.map(({ answer }) => answer);
    const { events, last, nexts } = await this.#tables.read(this.position);
    for (const row of events) this.#take(row);
    if (last !== this.position) this.#fault(`the log's head says ${last}, its events end at ${this.position}`);
    for (const [stream, next] of nexts ?? []) {
      const found = this.#streams.get(stream)?.next ?? 0;
      if (found !== next) this.#fault(`stream ${stream}: its head says ${next}, its events end at ${found}`);
    }
    this.#compare(sent, answered);
  }

  /** Of the log and of what is remembered under keys: nothing was added as long as it is the same. */
  async head(): Promise<{ position: number; outcomes: number }> {
    const { last } = await this.#tables.read(this.position);
    return { position: last, outcomes: await this.#tables.count('outcomes') };
  }

  get streams(): number {
    return this.#streams.size;
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

  /** `answered`: before the log was read. */
  #compare(sent: readonly Sent[], answered: readonly (Answer | undefined)[]): void {
    let compared = this.#compared;
    for (let i = compared; i < answered.length; i++) {
      const { number, parts } = sent[i]!;
      const answer = answered[i];
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
