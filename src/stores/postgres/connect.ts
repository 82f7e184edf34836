// One connection: how it is made and set up, and its statements.

import { readFileSync } from 'node:fs';
import pg from 'pg';
import { DaybookError } from '../../errors.ts';
import { BinaryRows, safeInteger } from './binary-rows.ts';
import { CopyOut } from './copy-out.ts';
import { Lost } from './errors.ts';
import { Slab } from './slab.ts';
import { StreamNames } from './stream-names.ts';

export type SslMode = 'disable' | 'require' | 'verify-ca' | 'verify-full';
export const SSL_MODES: readonly SslMode[] = ['disable', 'require', 'verify-ca', 'verify-full'];

export interface ConnectOptions {
  /** `postgres://user:password@host:port/database`; what it leaves out comes from the PG… variables. Its `sslmode` counts as `sslMode` does. */
  connectionString: string;
  /**
   * require: encrypted, whoever answers; verify-ca: and the server's certificate is signed by the authority; verify-full: and is for
   * this host. Default: disable.
   */
  sslMode?: SslMode | undefined;
  /** PEM: the authorities that may have signed the server's certificate; default: those that Node knows. */
  sslCaFile?: string | undefined;
  /** Read for every new connection, so that the password may change. */
  passwordFile?: string | undefined;
  /** A pooler that hands out connections per transaction stands between: nothing is left on a connection, not even a named statement. */
  pooler?: boolean | undefined;
}

const CONNECT_MS = 5_000;
/** Of one statement, by the server's clock and by ours, which also ends when the server cannot be heard. */
const STATEMENT_MS = 12_000;
const ANSWER_MS = 15_000;

/** Reads as `commit_units` does: never a plan that was made when the tables were empty. */
export const SESSION = `SET statement_timeout = ${STATEMENT_MS}; SET lock_timeout = 10000;
  SET idle_in_transaction_session_timeout = 10000; SET default_transaction_isolation = 'read committed';
  SET jit = off; SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
  SET enable_material = off; SET enable_sort = off; SET join_collapse_limit = 1`;

export interface Statement {
  /** The same text has the same name; without, the statement is planned each time. */
  name?: string;
  text: string;
  values?: readonly unknown[];
  /** How long to wait for the answer, when that is not the usual time. */
  answerMs?: number;
}

export class Connection {
  readonly #client: pg.Client;
  readonly #named: boolean;
  readonly #rows = new BinaryRows();
  readonly streams = new StreamNames();
  #lost: Error | undefined;

  private constructor(client: pg.Client, named: boolean) {
    this.#client = client;
    this.#named = named;
    client.on('error', (error) => {
      this.#lost ??= error;
    });
    client.on('end', () => {
      this.#lost ??= new Error('the server closed the connection');
    });
  }

  /** Rejects with Lost, or with what the database says. */
  static async open(options: ConnectOptions): Promise<Connection> {
    const client = new pg.Client(clientConfig(options));
    // Set afterwards: what is said beside a connection string counts less than what that leaves empty.
    if (options.passwordFile !== undefined) {
      (client as unknown as { password: string }).password = readSecret(options.passwordFile);
    }
    const connection = new Connection(client, !options.pooler);
    try {
      await client.connect();
    } catch (error) {
      connection.destroy();
      if (error instanceof pg.DatabaseError || error instanceof DaybookError) throw error;
      throw new Lost(reasonOf(error), false, error);
    }
    if (!options.pooler) await connection.query({ text: SESSION });
    return connection;
  }

  /** Called with what other sessions notify, on the channels that this one listens to. */
  onNotification(call: (payload: string) => void): void {
    this.#client.on('notification', ({ payload = '' }) => call(payload));
  }

  get lost(): boolean {
    return this.#lost !== undefined;
  }

  /** Rows as arrays of texts, numbers and bytes. Rejects with Lost, or with what the database says. */
  async query<Row extends unknown[]>({ name, text, values, answerMs }: Statement): Promise<Row[]> {
    const result = await this.#answered(() =>
      this.#client.query<Row>({
        text,
        rowMode: 'array',
        types: TYPES,
        ...(values && { values: values.map(toParameter) }),
        ...(name !== undefined && this.#named && { name }),
        ...(answerMs !== undefined && { query_timeout: answerMs }),
      }),
    );
    return result.rows;
  }

  /**
   * What `each` makes of the rows. For a query that many rows answer: they are read in a third of the time that `query` takes, but the
   * statement is planned each time, and numbers are all that can be put into it. Rejects as `query` does.
   */
  copy<T>(text: string, values: readonly number[], each: (row: BinaryRows) => T): Promise<T[]> {
    const query = text.replace(/\$(\d+)/g, (_, n) => String(toParameter(values[n - 1])));
    return this.#answered(
      () => new Promise((resolve, reject) => this.#client.query(new CopyOut(query, this.#rows, each, resolve, reject))),
    );
  }

  async #answered<T>(ask: () => Promise<T>): Promise<T> {
    if (this.#lost !== undefined) throw new Lost(this.#lost.message, false, this.#lost);
    try {
      return await ask();
    } catch (error) {
      if (error instanceof pg.DatabaseError) {
        // Whoever says more than that a statement failed ends the session.
        if (error.severity !== 'ERROR') this.#lost ??= error;
        throw error;
      }
      // After a statement that was given up nothing on this connection can be told apart.
      this.destroy();
      throw new Lost(reasonOf(error), true, error);
    }
  }

  /** All or nothing, in several round trips: never where the log is locked. */
  async transaction<T>(body: () => Promise<T>): Promise<T> {
    await this.query({ text: 'BEGIN' });
    try {
      const result = await body();
      await this.query({ text: 'COMMIT' });
      return result;
    } catch (error) {
      if (!this.lost) await this.query({ text: 'ROLLBACK' }).catch(() => this.destroy());
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.#lost !== undefined) return this.destroy();
    await this.#client.end().catch(() => {});
  }

  destroy(): void {
    this.#lost ??= new Error('the connection was given up');
    (this.#client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }
}

function reasonOf(error: unknown): string {
  // Several addresses of one host, and none answers.
  if (error instanceof AggregateError) return error.errors.map((one: Error) => one.message).join('; ');
  return (error as Error).message;
}

function clientConfig(options: ConnectOptions): pg.ClientConfig {
  const { connectionString, mode } = splitSslMode(options);
  return {
    connectionString,
    ssl: sslConfig(mode, options.sslCaFile),
    application_name: 'daybook',
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    connectionTimeoutMillis: CONNECT_MS,
    query_timeout: ANSWER_MS,
  };
}

/** What the connection string says of TLS; what is said beside it comes first. Throws a sentence. */
export function splitSslMode(options: Pick<ConnectOptions, 'connectionString' | 'sslMode'>): {
  connectionString: string;
  mode: SslMode;
} {
  const { connectionString, sslMode } = options;
  const other = /[?&](ssl|sslcert|sslkey|sslrootcert)=/.exec(connectionString)?.[1];
  if (other !== undefined) {
    throw new DaybookError(
      'STORE_UNAVAILABLE',
      `the connection string says ${other}, which has no meaning here: say sslmode, and storage.ssl_ca_file for the authority`,
    );
  }
  const given = /[?&]sslmode=([^&]*)/.exec(connectionString)?.[1];
  const mode = sslMode ?? given ?? 'disable';
  if (!SSL_MODES.includes(mode as SslMode)) {
    throw new DaybookError(
      'STORE_UNAVAILABLE',
      `sslmode ${mode} is not one of ${SSL_MODES.join(', ')}: say whether the connection is encrypted`,
    );
  }
  return { connectionString: connectionString.replace(/([?&])sslmode=[^&]*&?/, '$1'), mode: mode as SslMode };
}

function sslConfig(mode: SslMode, caFile: string | undefined): pg.ClientConfig['ssl'] {
  if (mode === 'disable') return false;
  if (mode === 'require') return { rejectUnauthorized: false };
  const ca = caFile === undefined ? {} : { ca: readSecret(caFile) };
  return { ...ca, rejectUnauthorized: true, ...(mode === 'verify-ca' && { checkServerIdentity: () => undefined }) };
}

function readSecret(path: string): string {
  try {
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    throw new DaybookError('STORE_UNAVAILABLE', `${path} cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

const BYTEA = 17;
const BOOL = 16;
const UUID = 2950;
const NUMBERS = [20, 21, 23];
const TEXTS = 1009;
const NUMBER_ARRAYS = 1016;

export function toNumber(text: string): number {
  return safeInteger(Number(text), text);
}

/** Every number is one of a bigint: callers say Infinity when there is no limit. */
function toParameter(value: unknown): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
  return Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Math.floor(value)));
}

const slab = new Slab();

/** Bytes that belong to nobody else: what is handed out may be changed. Whoever keeps them for long copies them, see own-bytes.ts. */
function toBytes(hex: string): Uint8Array {
  const length = hex.length >>> 1;
  if (!Slab.isFor(length)) return wholeBytes(hex);
  const at = slab.take(length);
  slab.memory.write(hex, at, 'hex');
  return new Uint8Array(slab.memory.buffer, at, length);
}

function uuidBytes(text: string): Uint8Array {
  const at = slab.take(16);
  const { memory } = slab;
  let digit = 0;
  for (let i = 0; i < 16; i++, digit += 2) {
    if (text.charCodeAt(digit) === HYPHEN) digit++;
    memory[at + i] = digitOf(text, digit) * 16 + digitOf(text, digit + 1);
  }
  return new Uint8Array(memory.buffer, at, 16);
}

/** As the server writes them: in lower case. */
function digitOf(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return code < LETTER_A ? code - DIGIT_0 : code - LETTER_A + 10;
}

const HYPHEN = 0x2d;
const DIGIT_0 = 0x30;
const LETTER_A = 0x61;

function wholeBytes(hex: string): Uint8Array {
  const bytes = new Uint8Array(hex.length >>> 1);
  Buffer.from(bytes.buffer).write(hex, 'hex');
  return bytes;
}

const PARSERS: Record<number, (text: string) => unknown> = {
  [BYTEA]: (text) => toBytes(text.slice(2)),
  [UUID]: uuidBytes,
  [BOOL]: (text) => text === 't',
  [TEXTS]: pg.types.getTypeParser(TEXTS as never) as (text: string) => unknown,
  [NUMBER_ARRAYS]: (text) => (text === '{}' ? [] : text.slice(1, -1).split(',').map(toNumber)),
};
for (const type of NUMBERS) PARSERS[type] = toNumber;

const asText = (text: string) => text;
const TYPES = { getTypeParser: (type: number) => PARSERS[type] ?? asText } as unknown as pg.CustomTypesConfig;
