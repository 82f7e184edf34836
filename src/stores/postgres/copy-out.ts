// A query of the driver whose rows are copied out. The driver calls what is called handle… here, by name.

import type { Connection, Submittable } from 'pg';
import type { BinaryRows } from './binary-rows.ts';

export class CopyOut<T> implements Submittable {
  /** The driver puts its timeout around it. */
  callback: (error?: Error | null) => void;
  readonly #query: string;
  readonly #rows: BinaryRows;
  readonly #each: (row: BinaryRows) => T;
  readonly #found: T[] = [];
  #begun = false;
  /** What `each` has thrown: the rest of the answer comes all the same. */
  #failed: Error | undefined;

  constructor(
    query: string,
    rows: BinaryRows,
    each: (row: BinaryRows) => T,
    resolve: (found: T[]) => void,
    reject: (error: Error) => void,
  ) {
    this.#query = query;
    this.#rows = rows;
    this.#each = each;
    this.callback = (error) => (error ? reject(error) : resolve(this.#found));
  }

  submit(connection: Connection): void {
    connection.query(`COPY (${this.#query}) TO STDOUT (FORMAT binary)`);
  }

  handleCopyData({ chunk }: { chunk: Buffer }): void {
    if (this.#failed !== undefined) return;
    try {
      const first = !this.#begun;
      this.#begun = true;
      if (this.#rows.next(chunk, first)) this.#found.push(this.#each(this.#rows));
    } catch (error) {
      this.#failed = error as Error;
    }
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.callback(this.#failed);
  }

  /** The database's, or that of the connection. */
  handleError(error: Error): void {
    this.callback(error);
  }
}
