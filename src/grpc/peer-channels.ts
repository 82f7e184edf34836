// Calls to other daemons of this log. One connection to each address, made when it is needed.

import { readFileSync } from 'node:fs';
import { Client, connectivityState, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { onAbort } from '../abort.ts';
import { arrivedNever, diedInHand } from '../components/served-status.ts';
import type { Caller } from '../coordinators/caller.ts';
import type { DryRunAnswer } from '../coordinators/dry-run.ts';
import type { PointInTime } from '../coordinators/past.ts';
import { type ForwardedWork, PeerLost, type Peers, PeerUnreachable } from '../coordinators/peers.ts';
import { type Encoder, encode } from '../encode.ts';
import { DaybookError } from '../errors.ts';
import type { Error as WireError } from '../gen/daybook/v1/errors.ts';
import * as wire from '../gen/daybook/v1/peers.ts';
import type { CommandBook, CommandResponse } from '../model/book.ts';
import { toTimestamp } from '../model/time.ts';
import type { Runtime } from '../runtime.ts';
import type { PeerIdentity } from './peers.ts';
import { errorOfWire } from './status.ts';

/** More daemons than a log has; the one that was not called for longest gives way. */
const CHANNELS = 64;
const CONNECT_MS = 2000;
/** How soon somebody who came back is found. */
const RECONNECT_MAX_MS = 1000;

interface Method<Request, Answer> {
  path: string;
  request: Encoder<Request>;
  answer: { decode(bytes: Uint8Array): Answer };
}

const { methods, fullName } = wire.PeersDefinition;
const EXECUTE = {
  path: `/${fullName}/${methods.execute.name}`,
  request: wire.ForwardedWork,
  answer: wire.ForwardedAnswer,
};
const DRY_RUN = {
  path: `/${fullName}/${methods.dryRun.name}`,
  request: wire.ForwardedDryRun,
  answer: wire.ForwardedDryRunAnswer,
};

export class PeerChannels implements Peers {
  /** Where others reach this daemon, once it listens. */
  address = '';
  readonly #identity: PeerIdentity;
  readonly #runtime: Runtime;
  /** The one that was called last is last. */
  readonly #clients = new Map<string, Client>();

  constructor(identity: PeerIdentity, runtime: Runtime) {
    this.#identity = identity;
    this.#runtime = runtime;
  }

  async execute(address: string, work: ForwardedWork, caller: Caller): Promise<CommandResponse> {
    const { result } = await this.#call(address, EXECUTE, work, caller);
    return unwrapped(address, result);
  }

  async dryRun(
    address: string,
    command: CommandBook,
    asOf: PointInTime | undefined,
    caller: Caller,
  ): Promise<DryRunAnswer> {
    const request = { command, asOf: asOf && { point: wirePoint(asOf) } };
    const { result } = await this.#call(address, DRY_RUN, { request, hops: 1 }, caller);
    const { result: answer, nextSequence } = unwrapped(address, result);
    if (answer === undefined) throw new PeerLost(address, 'its answer is empty');
    return answer.$case === 'events'
      ? { kind: 'events', events: answer.value, nextSequence }
      : { kind: 'rejection', rejection: answer.value, nextSequence };
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  async #call<Request, Answer>(
    address: string,
    method: Method<Request, Answer>,
    request: Request,
    { deadlineMs, signal }: Caller,
  ): Promise<Answer> {
    const client = this.#client(address);
    if (!(await isConnected(client))) throw new PeerUnreachable(address, 'no connection');
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const leftMs = deadlineMs - this.#runtime.monotonicMs();
      const running = client.makeUnaryRequest(
        method.path,
        (message: Request) => Buffer.from(encode(method.request, message).buffer),
        (bytes: Buffer) => method.answer.decode(bytes),
        request,
        this.#metadata(),
        leftMs === Infinity ? {} : { deadline: this.#runtime.nowMicros() / 1000 + leftMs },
        (error: ServiceError | null, answer?: Answer) => {
          ignoreAbort();
          if (error === null) resolve(answer!);
          else reject(signal.aborted ? signal.reason : failureOf(address, error));
        },
      );
      const ignoreAbort = onAbort(signal, () => running.cancel());
    });
  }

  #client(address: string): Client {
    let client = this.#clients.get(address);
    this.#clients.delete(address);
    client ??= new Client(address, clientCredentials(this.#identity), {
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': RECONNECT_MAX_MS,
      'grpc.keepalive_time_ms': 10_000,
      'grpc.keepalive_timeout_ms': 5_000,
      'grpc.enable_retries': 0,
      // Nobody looks at it, but an address is none.
      ...(this.#identity.tls !== undefined && { 'grpc.ssl_target_name_override': 'daybook-peer' }),
    });
    this.#clients.set(address, client);
    if (this.#clients.size > CHANNELS) {
      const [oldest, unused] = this.#clients.entries().next().value!;
      this.#clients.delete(oldest);
      unused.close();
    }
    return client;
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    if (this.#identity.token !== undefined) {
      metadata.set('authorization', `Bearer ${this.#identity.token.reveal()}`);
    }
    return metadata;
  }
}

/** A connection that cannot be made is told apart from one that breaks: then nothing has arrived. */
async function isConnected(client: Client): Promise<boolean> {
  const channel = client.getChannel();
  const deadline = Date.now() + CONNECT_MS;
  for (;;) {
    const state = channel.getConnectivityState(true);
    if (state === connectivityState.READY) return true;
    if (state === connectivityState.TRANSIENT_FAILURE || state === connectivityState.SHUTDOWN) return false;
    const changed = await new Promise<boolean>((resolve) => {
      channel.watchConnectivityState(state, deadline, (error) => resolve(error === undefined));
    });
    if (!changed) return false;
  }
}

function unwrapped<T>(
  address: string,
  result: { $case: 'response'; value: T } | { $case: 'error'; value: WireError } | undefined,
): T {
  if (result === undefined) throw new PeerLost(address, 'its answer is empty');
  if (result.$case === 'error') throw errorOfWire(result.value);
  return result.value;
}

/** The other daemon says no in its answers: a status is the transport's, or says that we are not one of the log's daemons. */
const NOT_TAKEN: readonly status[] = [
  status.UNAVAILABLE,
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
  status.UNIMPLEMENTED,
];

function failureOf(address: string, error: ServiceError): Error {
  const said = `${status[error.code]}: ${error.details}`;
  if (diedInHand(error)) return new PeerLost(address, said);
  if (NOT_TAKEN.includes(error.code) || arrivedNever(error)) return new PeerUnreachable(address, said);
  if (error.code === status.DEADLINE_EXCEEDED) {
    const what = `the daemon at ${address} did not answer in time`;
    return new DaybookError('OUTCOME_UNKNOWN', what, { cause: error });
  }
  return new PeerLost(address, said);
}

function wirePoint(point: PointInTime) {
  return point.kind === 'time'
    ? { $case: 'asOfTime' as const, value: toTimestamp(point.timeMicros) }
    : { $case: 'asOfSequence' as const, value: point.sequence };
}

function clientCredentials({ tls }: PeerIdentity) {
  if (tls === undefined) return credentials.createInsecure();
  // Pods have changing addresses that no certificate names: whoever has one of this authority is a daemon of this log.
  const options = { checkServerIdentity: () => undefined };
  return credentials.createSsl(readFileSync(tls.ca), readFileSync(tls.key), readFileSync(tls.cert), options);
}
