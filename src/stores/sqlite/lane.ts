// A worker as seen from the daemon's thread: calls go in, promises come out. A worker that dies takes its pending calls with
// it; the next call starts another.

import type { Worker } from 'node:worker_threads';
import { TransientMap } from '../../transient-map.ts';
import type { Fault, Operation, Reply, Request } from './protocol.ts';
import { TapeReader, TapeWriter } from './tape.ts';

/** The worker answered with an error. */
export class Faulted extends Error {
  readonly fault: Fault;

  constructor(fault: Fault) {
    super(fault.message);
    if (fault.stack !== undefined) this.stack = fault.stack;
    this.fault = fault;
  }
}

/** The worker died before it answered. */
export class Lost extends Error {
  /** Whether the worker had the call: then it may have been carried out. */
  readonly begun: boolean;

  constructor(begun: boolean, cause: unknown) {
    super('a worker of the store ended', { cause });
    this.begun = begun;
  }
}

interface Pending {
  resolve(tape: TapeReader): void;
  reject(error: Error): void;
}

interface Running {
  worker: Worker;
  pending: TransientMap<number, Pending>;
  opened: Promise<unknown>;
  exited: Promise<void>;
  ended: boolean;
}

export class Lane {
  readonly #start: () => Worker;
  readonly #calls = new TransientMap<number, Promise<unknown>>();
  #lastCall = 0;
  #running: Running | undefined;
  #lastId = 0;

  constructor(start: () => Worker) {
    this.#start = start;
  }

  /** Resolves when a worker has opened its connection. */
  async open(): Promise<void> {
    this.#running ??= this.#run();
    await this.#running.opened;
  }

  /** There is a worker, or there will be. */
  get isStarted(): boolean {
    return this.#running !== undefined;
  }

  /** Calls that were not answered yet. */
  get underWay(): number {
    return this.#calls.size;
  }

  /** `write` runs at once. Rejects with Faulted or Lost. */
  call(operation: Operation, write?: (tape: TapeWriter) => void): Promise<TapeReader> {
    const tape = new TapeWriter();
    write?.(tape);
    const call = this.#call(operation, tape);
    const id = ++this.#lastCall;
    this.#calls.set(id, call);
    const done = () => this.#calls.delete(id);
    call.then(done, done);
    return call;
  }

  /** After what is under way has been answered. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#calls.values());
    const running = this.#running;
    if (running === undefined) return;
    await post(running, ++this.#lastId, 'close', new TapeWriter()).catch(() => {});
    await running.exited;
  }

  async #call(operation: Operation, tape: TapeWriter): Promise<TapeReader> {
    this.#running ??= this.#run();
    const running = this.#running;
    await running.opened;
    return post(running, ++this.#lastId, operation, tape);
  }

  #run(): Running {
    const worker = this.#start();
    const pending = new TransientMap<number, Pending>();
    let died: Error | undefined;
    worker.on('message', (reply: Reply) => {
      const call = pending.get(reply.id)!;
      pending.delete(reply.id);
      if ('fault' in reply) call.reject(new Faulted(reply.fault));
      else call.resolve(new TapeReader(reply.tape));
    });
    worker.on('error', (error: Error) => {
      died = error;
    });
    const exited = new Promise<void>((resolve) => {
      worker.on('exit', () => {
        if (this.#running === running) this.#running = undefined;
        running.ended = true;
        for (const call of pending.values()) call.reject(new Lost(true, died));
        pending.clear();
        resolve();
      });
    });
    const running: Running = { worker, pending, opened: Promise.resolve(), exited, ended: false };
    running.opened = post(running, ++this.#lastId, 'open', new TapeWriter()).catch((error) => {
      // It cannot serve; the next call tries with a new one.
      if (this.#running === running) this.#running = undefined;
      void worker.terminate();
      throw error instanceof Lost ? new Lost(false, error) : error;
    });
    return running;
  }
}

function post(running: Running, id: number, operation: Operation, writer: TapeWriter): Promise<TapeReader> {
  return new Promise((resolve, reject) => {
    if (running.ended) return reject(new Lost(false, undefined));
    const { tape, transfer } = writer.finish();
    running.pending.set(id, { resolve, reject });
    running.worker.postMessage({ id, operation, tape } satisfies Request, transfer);
  });
}
