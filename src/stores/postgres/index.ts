// The store in PostgreSQL, for any number of daemons. A few connections, each with a task of its own: one commits events and holds the
// log's lock while it does; one commits what touches no events, so that it never waits for that; the others read.

import { assert } from '../../errors.ts';
import type { Snapshot } from '../../model/book.ts';
import type { StreamKey } from '../../model/stream.ts';
import type {
  ListedOutcome,
  LogBooks,
  LogHead,
  OpenStream,
  OutcomeKey,
  ReadLog,
  SnapshotHead,
  Store,
  StoredOutcome,
  StreamHead,
  StreamOpening,
  StreamPages,
  StreamRange,
  Unit,
  UnitResult,
} from '../../store.ts';
import { checkUnit } from '../unit-rules.ts';
import { type Answer, type CommitRow, commitValues, plainAnswer, plainValues, readAnswers } from './commit.ts';
import { Connection, type ConnectOptions } from './connect.ts';
import { type DeliverySql, deliverySql } from './delivery/statements.ts';
import { PostgresDelivery } from './delivery/store.ts';
import { isPartitionMissing, isRace, translate, unavailable } from './errors.ts';
import { Lane } from './lane.ts';
import { checkSchema, type MigrateOptions, type Migration, migrate } from './migrate.ts';
import { PostgresNews } from './news.ts';
import * as queries from './queries.ts';
import * as reads from './reads.ts';
import { Together } from './together.ts';

export { SSL_MODES, type SslMode } from './connect.ts';

export interface OpenPostgres extends ConnectOptions {
  /** Where the log lies: another log is another schema. Default: daybook. */
  schema?: string | undefined;
  /** Bring the schema up to date first, if this role may. Default: true; a reader never does. */
  migrate?: boolean | undefined;
  /** A log that is made now is cut into tables of so many positions; 0: one table. */
  partitionEvents?: number | undefined;
  /** Only looks, on one connection; refuses to commit. */
  readOnly?: boolean | undefined;
  /** For tests: what the time is, in microseconds since 1970. Default: the database's clock. */
  clock?: (() => number) | undefined;
}

const SCHEMA = 'daybook';
const READERS = 2;
/** Tries of a commit that meets another one at the very same row. */
const RACES_MAX = 10;

/** Rejects with STORE_UNAVAILABLE and a sentence when the database or the schema cannot be used. */
export async function openPostgres(options: OpenPostgres): Promise<Store> {
  const store = new PostgresStore(options);
  try {
    await store.open();
  } catch (error) {
    await store.close();
    throw error;
  }
  return store;
}

/** What is missing in the schema; done unless `dryRun`. */
export async function migratePostgres(options: ConnectOptions & Partial<MigrateOptions>): Promise<Migration[]> {
  const { schema = SCHEMA } = options;
  const description = descriptionOf(options.connectionString, schema);
  let connection: Connection | undefined;
  try {
    connection = await Connection.open(options);
    return await migrate(connection, { ...options, schema });
  } catch (error) {
    throw translate(error, false, description);
  } finally {
    await connection?.close();
  }
}

class PostgresStore extends PostgresDelivery implements Store {
  readonly description: string;
  readonly news: PostgresNews | undefined;
  readonly #options: OpenPostgres;
  readonly #schema: string;
  readonly #sql: queries.LogSql;
  readonly #deliverySql: DeliverySql;
  readonly #committer: Lane | undefined;
  /** Units without events, and what delivery changes outside of units. */
  readonly #worker: Lane | undefined;
  readonly #readers: Lane[];
  readonly #openings: Together<reads.OpenOne, StreamOpening>;
  readonly #reach = new reads.Reach();
  /** 0: the log is one table. */
  #partitionEvents = 0;
  /** The partition in which this daemon's latest event lies. */
  #partition = 0;
  #closing: Promise<void> | undefined;

  constructor(options: OpenPostgres) {
    super(options.readOnly ? 1 : READERS);
    const { schema = SCHEMA, readOnly = false } = options;
    this.#options = options;
    this.#schema = schema;
    this.description = descriptionOf(options.connectionString, schema);
    this.#sql = queries.logSql(schema);
    this.#deliverySql = deliverySql(schema);
    const connect = () => (readOnly ? Connection.open(options) : this.#connect());
    this.#committer = readOnly ? undefined : new Lane(connect);
    this.#worker = readOnly ? undefined : new Lane(connect);
    this.#readers = Array.from({ length: readOnly ? 1 : READERS }, () => new Lane(connect));
    if (!readOnly && !options.pooler) {
      this.news = new PostgresNews((channel, payload) =>
        this.#write(this.#worker, (connection) =>
          connection.query({ name: 'notify', text: 'SELECT pg_notify($1, $2)', values: [channel, payload] }),
        ),
      );
      // The one that is asked first, also by whoever is idle: so it is soon made anew.
      this.#readers[0] = new Lane(() => this.#connect(this.news));
    }
    this.#openings = new Together(this.#readers.length, (asked) =>
      this.#read((connection) => reads.openStreams(connection, this.#sql, asked)),
    );
  }

  /** The schema first, on a connection of its own; then whoever may be needed. */
  async open(): Promise<void> {
    const { readOnly = false, migrate: may = true, partitionEvents = 0 } = this.#options;
    try {
      const connection = await Connection.open(this.#options);
      try {
        if (!readOnly && may) await migrate(connection, { schema: this.#schema, partitionEvents });
        await checkSchema(connection, this.#schema);
        const rows = await connection.query<[number]>({ text: this.#sql.partitionEvents });
        this.#partitionEvents = rows[0]![0];
        if (!readOnly) await connection.query({ text: this.#sql.makePartitions });
      } finally {
        await connection.close();
      }
      await Promise.all(this.#lanes().map((lane) => lane.run(async () => {})));
    } catch (error) {
      throw translate(error, false, this.description);
    }
  }

  #lanes(): Lane[] {
    return [this.#committer, this.#worker, ...this.#readers].filter((lane) => lane !== undefined);
  }

  /** Whoever comes back to a database asks first whether it is still the same log. */
  async #connect(news?: PostgresNews): Promise<Connection> {
    const connection = await Connection.open(this.#options);
    try {
      const [row] = await connection.query<[string, string]>({ text: this.#sql.recognise });
      await news?.hear(connection, row![0]);
    } catch (error) {
      connection.destroy();
      throw error;
    }
    return connection;
  }

  async commit(units: readonly Unit[]): Promise<UnitResult[]> {
    for (const unit of units) checkUnit(unit);
    if (units.length === 0) return [];
    const appending = units.some(({ appends }) => appends.length > 0);
    const lane = appending ? this.#committer : this.#worker;
    const plain = plainValues(units, this.#partitionEvents);
    const answers = await this.#write(lane, async (connection) => {
      // Whatever waits here, be it for nothing, would have the store and the daemon work one after the other.
      const tried = plain && (await this.#commitPlain(connection, units[0]!, plain));
      const answers = tried ?? (await this.#commitAny(connection, units));
      const last = answers.findLast((answer) => answer.kind === 'committed')?.position ?? 0;
      this.#reach.saw(last);
      if (this.#partitionEvents > 0) await this.#keepPartitions(connection, last);
      return answers;
    });
    return Promise.all(units.map((unit, i) => this.#resultOf(unit, answers[i]!)));
  }

  /** `undefined`, with nothing written, when it is not as simple as that. */
  async #commitPlain(connection: Connection, unit: Unit, values: unknown[]): Promise<Answer[] | undefined> {
    const statement = { name: 'commit_plain', text: this.#sql.commitPlain, values };
    const [row] = await connection.query<[number | null]>(statement);
    const position = row![0];
    return position === null ? undefined : [plainAnswer(unit, position)];
  }

  async #commitAny(connection: Connection, units: readonly Unit[]): Promise<Answer[]> {
    const values = commitValues(units);
    const [row] = await connection.query<CommitRow>({ name: 'commit', text: this.#sql.commit, values });
    return readAnswers(units, row!);
  }

  /** What is known under the key of a duplicate. When it has expired since then, the unit is asked again. */
  async #resultOf(unit: Unit, answer: Answer): Promise<UnitResult> {
    if (answer.kind !== 'duplicate') return answer;
    const outcome = await this.readOutcome(unit.outcomes[answer.index]!);
    if (outcome === undefined) return (await this.commit([unit]))[0]!;
    return { ...answer, outcome };
  }

  /** Two partitions ahead are always there; whoever enters one makes the next. The commit is done: its answer stands whatever happens. */
  async #keepPartitions(connection: Connection, last: number): Promise<void> {
    const partition = Math.floor(last / this.#partitionEvents);
    if (partition <= this.#partition) return;
    this.#partition = partition;
    await connection.query({ text: this.#sql.makePartitions }).catch(() => {});
  }

  async head(): Promise<LogHead> {
    const head = await this.#read((connection) => queries.findHead(connection, this.#sql));
    this.#reach.saw(head.position);
    return head;
  }

  openStream(stream: StreamKey, open: OpenStream): Promise<StreamOpening> {
    return this.#openings.ask({ stream, open });
  }

  readStream(stream: StreamKey, range: StreamRange): Promise<StreamPages> {
    return this.#read((connection) => reads.readStream(connection, this.#sql, stream, range));
  }

  readSnapshot(stream: StreamKey, schemaVersion: number, atOrBefore: number): Promise<Snapshot | undefined> {
    return this.#read((connection) => queries.findSnapshot(connection, this.#sql, stream, schemaVersion, atOrBefore));
  }

  readLog(read: ReadLog): Promise<LogBooks> {
    return this.#read((connection) => reads.readLog(connection, this.#sql, this.#reach, read));
  }

  positionBefore(timeMicros: number): Promise<number> {
    return this.#read((connection) => reads.positionBefore(connection, this.#sql, timeMicros));
  }

  listStreams(list: { tenant?: string; domain?: string; after?: StreamKey; limit: number }): Promise<StreamHead[]> {
    return this.#read((connection) => queries.listStreams(connection, this.#sql, list));
  }

  listSnapshots(list: { after?: SnapshotHead; limit: number }): Promise<SnapshotHead[]> {
    return this.#read((connection) => queries.listSnapshots(connection, this.#sql, list.after, list.limit));
  }

  readOutcome(key: OutcomeKey): Promise<StoredOutcome | undefined> {
    return this.#read((connection) => queries.findOutcome(connection, this.#sql, key));
  }

  listOutcomes(list: {
    tenant: string;
    correlationId: string;
    after?: ListedOutcome;
    limit: number;
  }): Promise<ListedOutcome[]> {
    return this.#read((connection) => queries.listOutcomes(connection, this.#sql, list));
  }

  expireOutcomes(nowMicros: number, limit: number): Promise<number> {
    return this.#write(this.#worker, async (connection) => {
      const [row] = await connection.query<[number]>({ text: this.#sql.expireOutcomes, values: [nowMicros, limit] });
      return row![0];
    });
  }

  async now(): Promise<number> {
    const given = this.given();
    if (given !== null) return given;
    const rows = await this.#read((connection) => connection.query<[number]>({ name: 'now', text: this.#sql.now }));
    return rows[0]![0];
  }

  protected given(): number | null {
    return this.#options.clock?.() ?? null;
  }

  protected read<Row extends unknown[]>(name: keyof DeliverySql, ...values: unknown[]): Promise<Row[]> {
    return this.#read((connection) => connection.query<Row>({ name, text: this.#deliverySql[name], values }));
  }

  protected write<Row extends unknown[]>(name: keyof DeliverySql, ...values: unknown[]): Promise<Row[]> {
    return this.#write(this.#worker, (connection) =>
      connection.query<Row>({ name, text: this.#deliverySql[name], values }),
    );
  }

  /** After what is under way; what comes later is refused. */
  close(): Promise<void> {
    this.#closing ??= Promise.all(this.#lanes().map((lane) => lane.close())).then(() => {});
    return this.#closing;
  }

  /** On the connection that has least to do. A connection that turns out to be lost is made anew, once. */
  async #read<T>(body: (connection: Connection) => Promise<T>): Promise<T> {
    this.#refuseClosed();
    const lane = this.#readers.reduce((least, other) => (other.waiting < least.waiting ? other : least));
    try {
      return await lane
        .run(async (connection) => {
          try {
            return await body(connection);
          } catch (error) {
            if (!connection.lost) throw error;
            return RETRY;
          }
        })
        .then((result) => (result === RETRY ? lane.run(body) : (result as T)));
    } catch (error) {
      throw translate(error, false, this.description);
    }
  }

  async #write<T>(lane: Lane | undefined, body: (connection: Connection) => Promise<T>): Promise<T> {
    assert(lane !== undefined, 'a store that was opened read-only is not written');
    this.#refuseClosed();
    for (let tries = 1; ; tries++) {
      try {
        return await lane.run(body);
      } catch (error) {
        if (isRace(error) && tries < RACES_MAX) continue;
        if (isPartitionMissing(error) && tries === 1) {
          await this.#makePartitions(lane);
          continue;
        }
        throw translate(error, true, this.description);
      }
    }
  }

  async #makePartitions(lane: Lane): Promise<void> {
    try {
      await lane.run((connection) => connection.query({ text: this.#sql.makePartitions }));
    } catch (error) {
      throw translate(error, false, this.description);
    }
  }

  #refuseClosed(): void {
    if (this.#closing !== undefined) throw unavailable(this.description, 'it is closed');
  }
}

const RETRY = Symbol('on a new connection');

/** Without user and password. */
function descriptionOf(connectionString: string, schema: string): string {
  let place = 'of the environment';
  try {
    const { host, pathname, searchParams } = new URL(connectionString);
    place = `${host || searchParams.get('host') || 'localhost'}${pathname}`;
  } catch {
    // A connection string in another form: nothing of it is shown.
  }
  return `postgres ${place}, schema ${schema}`;
}
