// A projector, saga or process manager that is a gRPC server of its own: we call it, as often at once as it is configured for.

import { onAbort } from '../abort.ts';
import { HostLost, type ReactionCall, type ReactorDeclaration } from '../component.ts';
import { DaybookError } from '../errors.ts';
import {
  ProcessManagerDefinition,
  ProcessManagerRequest,
  ProcessManagerResponse,
  ProjectorDefinition,
  ProjectorRequest,
  ProjectorResponse,
  SagaDefinition,
  SagaRequest,
  SagaResponse,
} from '../gen/daybook/v1/component.ts';
import type { ReactionMessages, ReactorKind } from '../model/reaction.ts';
import type { Runtime, Timer } from '../runtime.ts';
import type { Logger } from '../telemetry/log.ts';
import { spoken } from './declarations.ts';
import type { StandingReactor } from './reactors.ts';
import type { Served } from './served.ts';
import { type Method, ServedClient } from './served-client.ts';

type Methods = {
  [kind in ReactorKind]: Method<ReactionMessages[kind]['request'], ReactionMessages[kind]['response']>;
};

const pathOf = (service: { fullName: string; methods: { handle: { name: string } } }) =>
  `/${service.fullName}/${service.methods.handle.name}`;

const METHODS: Methods = {
  projector: { path: pathOf(ProjectorDefinition), request: ProjectorRequest, response: ProjectorResponse },
  saga: { path: pathOf(SagaDefinition), request: SagaRequest, response: SagaResponse },
  process_manager: {
    path: pathOf(ProcessManagerDefinition),
    request: ProcessManagerRequest,
    response: ProcessManagerResponse,
  },
};

/** After a failure that says that it is not ready; doubles while it fails whenever it is tried. */
const PAUSE_MIN_MS = 100;
const PAUSE_MAX_MS = 1000;

/** As the configuration names it. */
export interface ServedReactorParts<Kind extends ReactorKind> {
  readonly declaration: ReactorDeclaration & { kind: Kind };
  readonly address: string;
  /** Requests in hand at once, at most. */
  readonly concurrency: number;
}

export class ServedReactor<Kind extends ReactorKind = ReactorKind> implements StandingReactor, Served {
  readonly declaration: ReactorDeclaration & { kind: Kind };
  readonly address: string;
  readonly #client: ServedClient;
  readonly #runtime: Runtime;
  readonly #log: Pick<Logger, 'warn' | 'info'>;
  readonly #concurrency: number;
  readonly #listeners: (() => void)[] = [];
  #inHand = 0;
  /** Each begins its call. */
  #waiting: (() => void)[] = [];
  #refused: string | undefined;
  /** Until it may be tried again. */
  #pausing = false;
  #pauseMs = PAUSE_MIN_MS;
  #timer: Timer | undefined;
  #closed = false;

  constructor(
    { declaration, address, concurrency }: ServedReactorParts<Kind>,
    { messageBytes }: { messageBytes: number },
    runtime: Runtime,
    log: Pick<Logger, 'warn' | 'info'>,
  ) {
    this.declaration = declaration;
    this.address = address;
    this.#concurrency = concurrency;
    this.#runtime = runtime;
    this.#log = log;
    this.#client = new ServedClient(declaration.name, address, messageBytes, runtime);
  }

  get title(): string {
    return `${spoken(this.declaration.kind)} ${this.declaration.name}`;
  }

  get notReady(): string | undefined {
    if (this.#refused !== undefined) return `refused: ${this.#refused}`;
    return this.#pausing ? (this.#client.notReady ?? 'UNAVAILABLE') : undefined;
  }

  get available(): boolean {
    return this.#refused === undefined && !this.#pausing;
  }

  onChanged(listener: () => void): void {
    this.#listeners.push(listener);
  }

  async handle(
    request: ReactionMessages[Kind]['request'],
    call: ReactionCall,
  ): Promise<ReactionMessages[Kind]['response']> {
    await this.#turn(call);
    try {
      if (this.#closed || this.#refused !== undefined)
        throw this.#unavailable(call, this.#refused ?? 'the daemon stops');
      const response = await this.#client.call(METHODS[this.declaration.kind], request, {
        about: call.about,
        deadlineMs: this.#runtime.monotonicMs() + call.timeoutMs,
        signal: call.signal,
        headers: { traceparent: call.traceparent, tracestate: call.tracestate },
        lost: () => new HostLost(this.declaration.name, call.about),
      });
      this.#pauseMs = PAUSE_MIN_MS;
      return response;
    } catch (error) {
      if (error instanceof DaybookError && error.reason === 'COMPONENT_UNAVAILABLE') this.#pause();
      throw error;
    } finally {
      this.#inHand--;
      this.#waiting.shift()?.();
    }
  }

  refuse(sentence: string | undefined): void {
    if (sentence === this.#refused) return;
    this.#refused = sentence;
    const fields = { component: this.declaration.name, address: this.address };
    if (sentence === undefined) this.#log.info(fields, `${this.title} gets work again`);
    else this.#log.warn({ ...fields, reason: sentence }, `${this.title} gets no work`);
    this.#tell();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#client.close();
    // Each finds that it is closed, and lets the next.
    this.#waiting.shift()?.();
  }

  /** Resolves when it may be sent, in order. Waiting is bounded by whoever asks: what it has in hand at once. */
  #turn({ signal }: ReactionCall): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      let ignoreAbort: (() => void) | undefined;
      const begin = () => {
        ignoreAbort?.();
        this.#inHand++;
        resolve();
      };
      if (this.#inHand < this.#concurrency) return begin();
      ignoreAbort = onAbort(signal, () => {
        this.#waiting = this.#waiting.filter((other) => other !== begin);
        reject(signal.reason);
      });
      this.#waiting.push(begin);
    });
  }

  #unavailable(call: ReactionCall, why: string): DaybookError {
    return new DaybookError('COMPONENT_UNAVAILABLE', `${call.about}: ${why}`, {
      metadata: { component: this.declaration.name },
      retryDelayMs: 200,
    });
  }

  /** It is tried again by itself: after a moment, once there is a connection. */
  #pause(): void {
    if (this.#pausing || this.#closed || this.#refused !== undefined) return;
    this.#pausing = true;
    this.#timer = this.#runtime.after(this.#pauseMs, () =>
      this.#client.whenConnected(() => {
        if (this.#closed) return;
        this.#pausing = false;
        this.#tell();
      }),
    );
    this.#pauseMs = Math.min(2 * this.#pauseMs, PAUSE_MAX_MS);
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}
