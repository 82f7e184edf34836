// One gRPC channel, and calls on it made from the definitions that ts-proto generates. The only file that knows grpc-js,
// except for the shape of its errors.

import * as grpc from '@grpc/grpc-js';
import { DaybookError, fromServiceError } from './errors.ts';

export interface TransportOptions {
  /** `host:port`. Default: 127.0.0.1:4310. */
  address?: string | undefined;
  /** The path of a Unix socket, instead of an address. */
  socket?: string | undefined;
  /** Sent as `authorization: Bearer …` with every call. A function is asked each time, so that tokens can be renewed. */
  token?: string | (() => string) | undefined;
  /** `true` trusts the system's authorities; PEM files otherwise. Absent: no encryption, for a daemon beside you. */
  tls?: true | { ca?: Buffer; key?: Buffer; cert?: Buffer } | undefined;
}

export interface CallLimits {
  /** Milliseconds since 1970; Infinity is none. */
  deadlineMs: number;
  signal?: AbortSignal | undefined;
}

interface Codec<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

interface GeneratedMethod<Request, Response> {
  name: string;
  requestType: Codec<Request>;
  responseType: Codec<Response>;
  requestStream: boolean;
  responseStream: boolean;
}

/** What grpc-js needs to know of a generated method, for both sides of a call. */
export function methodOf<Request, Response>(
  service: { fullName: string },
  method: GeneratedMethod<Request, Response>,
): grpc.MethodDefinition<Request, Response> {
  return {
    path: `/${service.fullName}/${method.name}`,
    requestStream: method.requestStream,
    responseStream: method.responseStream,
    requestSerialize: serializer(method.requestType),
    requestDeserialize: deserializer(method.requestType),
    responseSerialize: serializer(method.responseType),
    responseDeserialize: deserializer(method.responseType),
  };
}

// Both directions look at the same memory: nothing is copied.
function serializer<T>(codec: Codec<T>): (message: T) => Buffer {
  return (message) => {
    const bytes = codec.encode(message).finish();
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

function deserializer<T>(codec: Codec<T>): (bytes: Buffer) => T {
  return (bytes) => codec.decode(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}

export class Transport {
  /** For messages: where calls go. */
  readonly target: string;
  readonly #client: grpc.Client;
  readonly #token: TransportOptions['token'];
  #closed = false;

  constructor(options: TransportOptions, channelOptions: grpc.ChannelOptions = {}) {
    this.target = options.socket === undefined ? (options.address ?? '127.0.0.1:4310') : `unix:${options.socket}`;
    this.#token = options.token;
    this.#client = new grpc.Client(this.target, credentialsOf(options.tls), {
      // The daemon refuses what is over its own limits, so these need not be exact.
      'grpc.max_receive_message_length': 32 * 1024 * 1024,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 2_000,
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      ...channelOptions,
    });
  }

  unary<Request, Response>(
    method: grpc.MethodDefinition<Request, Response>,
    request: Request,
    limits: CallLimits,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      limits.signal?.throwIfAborted();
      this.#assertOpen();
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        this.#metadata(),
        callOptions(limits),
        (error, response) => {
          limits.signal?.removeEventListener('abort', cancel);
          if (error === null) resolve(response!);
          else reject(limits.signal?.aborted ? limits.signal.reason : fromServiceError(error));
        },
      );
      const cancel = (): void => call.cancel();
      limits.signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  /** Sends the request when the first message is asked for. Leaving the loop cancels the call. */
  async *serverStream<Request, Response>(
    method: grpc.MethodDefinition<Request, Response>,
    request: Request,
    limits: CallLimits,
  ): AsyncGenerator<Response, void, undefined> {
    limits.signal?.throwIfAborted();
    this.#assertOpen();
    const call = this.#client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      this.#metadata(),
      callOptions(limits),
    );
    // The loop below sees the error; this listener is for the one that comes after the loop was left.
    call.on('error', () => {});
    const cancel = (): void => call.cancel();
    limits.signal?.addEventListener('abort', cancel, { once: true });
    try {
      for await (const message of call) yield message as Response;
    } catch (error) {
      limits.signal?.throwIfAborted();
      throw fromServiceError(error);
    } finally {
      limits.signal?.removeEventListener('abort', cancel);
      call.cancel();
    }
  }

  duplex<Request, Response>(
    method: grpc.MethodDefinition<Request, Response>,
  ): grpc.ClientDuplexStream<Request, Response> {
    this.#assertOpen();
    return this.#client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      this.#metadata(),
    );
  }

  /** Calls in hand go on; new ones are refused. */
  close(): void {
    this.#closed = true;
    this.#client.close();
  }

  #assertOpen(): void {
    if (this.#closed) throw new DaybookError('CLOSED', `the client of ${this.target} was closed`);
  }

  #metadata(): grpc.Metadata {
    const metadata = new grpc.Metadata();
    const token = typeof this.#token === 'function' ? this.#token() : this.#token;
    if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
    return metadata;
  }
}

function callOptions(limits: CallLimits): grpc.CallOptions {
  return limits.deadlineMs === Number.POSITIVE_INFINITY ? {} : { deadline: limits.deadlineMs };
}

function credentialsOf(tls: TransportOptions['tls']): grpc.ChannelCredentials {
  if (tls === undefined) return grpc.credentials.createInsecure();
  if (tls === true) return grpc.credentials.createSsl();
  return grpc.credentials.createSsl(tls.ca ?? null, tls.key ?? null, tls.cert ?? null);
}
