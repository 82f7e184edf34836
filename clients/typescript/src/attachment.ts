// One stream to Daybook that is opened again whenever it is lost.

import { status } from '@grpc/grpc-js';
import type { Client } from './client.ts';
import { DaybookError } from './errors.ts';
import { ComponentHostDefinition, type Notice, type Welcome, type Work } from './gen/daybook/v1/component.ts';
import { type Hosted, helloOf, type Program, reacts } from './hosted.ts';
import { backoffMs, pause } from './retry.ts';
import { Session } from './session.ts';
import { methodOf, Transport, type TransportOptions } from './transport.ts';

export type HostEvent =
  | { type: 'attached'; welcome: Welcome }
  /** The stream ended; it is opened again. The error is absent when Daybook asked for it. */
  | { type: 'detached'; error: DaybookError | undefined }
  /** A handler failed: the work counts as not done. */
  | { type: 'failed'; work: Work; error: unknown }
  /** Daybook could not use a reply, or gives a component no work. */
  | { type: 'notice'; notice: Notice };

export interface AttachmentOptions {
  connection: TransportOptions;
  /** The client that handlers get is made from it. */
  client: Client;
  program: Program;
  hosted: Hosted;
  /** Nothing is opened before this has resolved. */
  previous: Promise<unknown> | undefined;
  onEvent(event: HostEvent): void;
}

export class Attachment {
  /** Resolves when it is over: with an error when Daybook refused it, without one after `close`. Never rejects. */
  readonly closed: Promise<DaybookError | undefined>;
  readonly #options: AttachmentOptions;
  readonly #closing = new AbortController();
  #attached = Promise.withResolvers<Welcome>();
  #closeTimeoutMs = 10_000;

  constructor(options: AttachmentOptions) {
    this.#options = options;
    this.#attached.promise.catch(() => {});
    this.closed = this.#run();
  }

  /** As that of the host. */
  ready(): Promise<Welcome> {
    return this.#attached.promise;
  }

  /** Takes no more work, answers what is in hand, then leaves: see `closed`. */
  close(timeoutMs?: number): void {
    this.#closeTimeoutMs = timeoutMs ?? this.#closeTimeoutMs;
    this.#closing.abort();
  }

  async #run(): Promise<DaybookError | undefined> {
    const { connection, client, program, hosted, previous } = this.#options;
    const begun = await Promise.race([previous, this.#closed()]).then(
      () => true,
      () => false,
    );
    // A connection of its own: long answers to queries elsewhere do not delay the work here.
    const transport = new Transport(connection, {
      'grpc.use_local_subchannel_pool': 1,
      ...(reacts(hosted) && { 'grpc-node.flow_control_window': WINDOW_BYTES }),
    });
    let failures = 0;
    let refused: DaybookError | undefined;
    while (begun && !this.#closing.signal.aborted && refused === undefined) {
      let welcomed = false;
      const session = new Session(transport.duplex(ATTACH), {
        hello: helloOf(program, hosted),
        hosted,
        client,
        onWelcome: (welcome) => {
          welcomed = true;
          this.#attached.resolve(welcome);
          this.#tell({ type: 'attached', welcome });
        },
        onNotice: (notice) => this.#tell({ type: 'notice', notice }),
        onFailure: (work, error) => this.#tell({ type: 'failed', work, error }),
      });
      const error = await this.#followed(session);
      if (this.#closing.signal.aborted) break;
      failures = welcomed ? 1 : failures + 1;
      if (welcomed) this.#renewAttached();
      if (error !== undefined && REFUSALS.has(error.code)) refused = error;
      else {
        this.#tell({ type: 'detached', error });
        await pause(backoffMs(failures, RECONNECT), this.#closing.signal).catch(() => {});
      }
    }
    this.#attached.reject(refused ?? new DaybookError('CLOSED', 'the host was closed'));
    transport.close();
    return refused;
  }

  /** Until the session ends, which `close` brings about. */
  async #followed(session: Session): Promise<DaybookError | undefined> {
    const drain = (): void => void session.drain(this.#closeTimeoutMs);
    this.#closing.signal.addEventListener('abort', drain, { once: true });
    const error = await session.ended;
    this.#closing.signal.removeEventListener('abort', drain);
    return error;
  }

  #closed(): Promise<void> {
    return new Promise((resolve) => {
      this.#closing.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  #renewAttached(): void {
    this.#attached = Promise.withResolvers();
    this.#attached.promise.catch(() => {});
  }

  #tell(event: HostEvent): void {
    this.#options.onEvent(event);
  }
}

const ATTACH = methodOf(ComponentHostDefinition, ComponentHostDefinition.methods.attach);
/**
 * What may be on its way to those who react. Their work comes in messages of several hundred kilobytes, each of which would else wait for the one before
 * to be read. Commands have the transport's 64 KB: what waits with Daybook is what it counts when it decides whether to take more.
 */
const WINDOW_BYTES = 1 << 20;
const RECONNECT = { firstDelayMs: 50, maxDelayMs: 5_000 };
// What the daemon answers to a declaration, or to a token, that it will not accept the next time either.
const REFUSALS: ReadonlySet<number> = new Set([
  status.INVALID_ARGUMENT,
  status.FAILED_PRECONDITION,
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
  status.UNIMPLEMENTED,
]);
