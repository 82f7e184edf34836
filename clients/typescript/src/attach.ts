// Hosting: your code opens a stream to Daybook and receives its work there. It needs no port of its own.

import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { status } from '@grpc/grpc-js';
import type { Aggregate } from './aggregate.ts';
import { type ConnectOptions, connect } from './client.ts';
import { DaybookError } from './errors.ts';
import {
  ComponentHostDefinition,
  type Hello,
  type Notice,
  type Welcome,
  type Work,
} from './gen/daybook/v1/component.ts';
import { backoffMs, pause } from './retry.ts';
import { Session } from './session.ts';
import { methodOf, Transport } from './transport.ts';

export interface AttachOptions extends ConnectOptions {
  /** For people: which program this is. */
  name: string;
  version?: string;
  /** Tells several processes of the same program apart. Default: the host's name with a random ending. */
  instance?: string;
  aggregates: readonly Aggregate<unknown>[];
  /** A serialized google.protobuf.FileDescriptorSet of your payloads, so that Daybook can show them to people. */
  descriptors?: Uint8Array;
  /** What happens to the attachment. Default: failures, notices and lost connections go to console.error. */
  onEvent?(event: HostEvent): void;
}

export type HostEvent =
  | { type: 'attached'; welcome: Welcome }
  /** The stream ended; it is opened again. The error is absent when Daybook asked for it. */
  | { type: 'detached'; error: DaybookError | undefined }
  /** A handler failed: the work counts as not done. */
  | { type: 'failed'; work: Work; error: unknown }
  /** Daybook could not use a reply. */
  | { type: 'notice'; notice: Notice };

/**
 * Attaches, and stays attached: a lost stream is opened again after a pause. Only what no repeat can mend ends it: a declaration or
 * a token that Daybook refuses.
 */
export function attach(options: AttachOptions): Host {
  return new Host(options);
}

export class Host {
  /** Resolves when hosting is over: with an error when Daybook refused it, without one after `close`. Never rejects. */
  readonly closed: Promise<DaybookError | undefined>;
  readonly #options: AttachOptions;
  readonly #closing = new AbortController();
  #attached = Promise.withResolvers<Welcome>();
  #closeTimeoutMs = 10_000;

  constructor(options: AttachOptions) {
    this.#options = { onEvent: reportToConsole, ...options };
    this.#attached.promise.catch(() => {});
    this.closed = this.#run();
  }

  /** Resolves when Daybook has accepted this host; at once when it is attached now. Rejects when it will never be. */
  ready(): Promise<Welcome> {
    return this.#attached.promise;
  }

  /** Takes no more work, answers what is in hand, then leaves. */
  async close(options: { timeoutMs?: number } = {}): Promise<void> {
    this.#closeTimeoutMs = options.timeoutMs ?? this.#closeTimeoutMs;
    this.#closing.abort();
    await this.closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #run(): Promise<DaybookError | undefined> {
    // A connection of its own: long answers to queries elsewhere do not delay the work here.
    const transport = new Transport(this.#options, { 'grpc.use_local_subchannel_pool': 1 });
    const client = connect(this.#options);
    let failures = 0;
    let refused: DaybookError | undefined;
    while (!this.#closing.signal.aborted && refused === undefined) {
      let welcomed = false;
      const session = new Session(transport.duplex(ATTACH), {
        hello: helloOf(this.#options),
        aggregates: this.#options.aggregates,
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
    client.close();
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

  #renewAttached(): void {
    this.#attached = Promise.withResolvers();
    this.#attached.promise.catch(() => {});
  }

  #tell(event: HostEvent): void {
    this.#options.onEvent?.(event);
  }
}

function helloOf(options: AttachOptions): Hello {
  return {
    protocolVersion: 1,
    features: [],
    name: options.name,
    version: options.version ?? '',
    instance: options.instance ?? INSTANCE,
    aggregates: options.aggregates.map((aggregate) => ({
      domain: aggregate.domain,
      credits: aggregate.credits,
      keepsState: aggregate.keepsState ?? true,
      snapshotSchemaVersion: aggregate.snapshot?.version ?? 0,
    })),
    projectors: [],
    sagas: [],
    processManagers: [],
    upcasters: [],
    fileDescriptorSet: options.descriptors ?? new Uint8Array(0),
  };
}

function reportToConsole(event: HostEvent): void {
  if (event.type === 'failed') console.error(`daybook: work ${event.work.workId} failed:`, event.error);
  if (event.type === 'notice') console.error(`daybook: ${event.notice.reason}: ${event.notice.message}`);
  if (event.type === 'detached')
    console.error(`daybook: detached: ${event.error?.message ?? 'the daemon is draining'}`);
}

const INSTANCE = `${hostname()}-${randomUUID().slice(0, 8)}`;
const ATTACH = methodOf(ComponentHostDefinition, ComponentHostDefinition.methods.attach);
const RECONNECT = { firstDelayMs: 50, maxDelayMs: 5_000 };
// What the daemon answers to a declaration, or to a token, that it will not accept the next time either.
const REFUSALS: ReadonlySet<number> = new Set([
  status.INVALID_ARGUMENT,
  status.FAILED_PRECONDITION,
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
  status.UNIMPLEMENTED,
]);
