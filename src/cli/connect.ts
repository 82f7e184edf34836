// From a command to a daemon.

import { Client, credentials, type Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { hostPortText, loadConfig } from '../config.ts';
import { EventQueryDefinition } from '../gen/daybook/v1/query.ts';
import { Rejection } from '../gen/daybook/v1/types.ts';
import { serviceDefinition } from '../grpc/definition.ts';
import { typeName } from '../model/book.ts';
import { fields, texts } from '../payloads/wire.ts';
import { EXIT, Exit, usage } from './exit-codes.ts';
import { plainText } from './output.ts';

export interface ConnectOptions {
  address?: string;
  config?: string;
}

/** Where the daemon answers: `--address`, else what the configuration says. */
export function daemonAddress(options: ConnectOptions): string {
  if (options.address !== undefined) return options.address;
  const { address, socket } = loadConfig({ configPath: options.config }).listen;
  if (address !== undefined && address.port !== 0) {
    const everywhere = address.host === '0.0.0.0' || address.host === '::';
    return hostPortText(everywhere ? { host: '127.0.0.1', port: address.port } : address);
  }
  if (socket !== undefined) return `unix:${socket}`;
  throw usage('the configured port is 0, so any: say with --address where the daemon answers');
}

interface Message<T> {
  encode(message: T): unknown;
  decode(input: Uint8Array): T;
}
interface Service {
  readonly fullName: string;
  readonly methods: { readonly [key: string]: Method };
}
interface Method {
  // biome-ignore lint/suspicious/noExplicitAny: rows of a table of different types
  readonly requestType: Message<any>;
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readonly responseType: Message<any>;
  readonly responseStream: boolean;
}
type Of<S extends Service, Streaming extends boolean> = {
  [name in keyof S['methods']]: S['methods'][name] extends { requestStream: false; responseStream: Streaming }
    ? name
    : never;
}[keyof S['methods']] &
  string;
type Request<M extends Method> = M['requestType'] extends Message<infer R> ? R : never;
type Response<M extends Method> = M['responseType'] extends Message<infer R> ? R : never;

/** The answers of one call to EventQuery, one by one. Throws a CallFailed when there is an error. */
export function ask<Name extends Of<typeof EventQueryDefinition, true>>(
  address: string,
  name: Name,
  request: Request<(typeof EventQueryDefinition)['methods'][Name]>,
): AsyncGenerator<Response<(typeof EventQueryDefinition)['methods'][Name]>> {
  return stream(address, EventQueryDefinition, name, request);
}

/** The answers of a call that has many, one by one. Throws a CallFailed when there is an error. */
export async function* stream<S extends Service & Parameters<typeof serviceDefinition>[0], Name extends Of<S, true>>(
  address: string,
  service: S,
  name: Name,
  request: Request<S['methods'][Name]>,
): AsyncGenerator<Response<S['methods'][Name]>> {
  const client = open(address);
  try {
    const method = serviceDefinition(service)[name]!;
    yield* client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize as (bytes: Buffer) => Response<S['methods'][Name]>,
      request,
    );
  } catch (thrown) {
    throw callFailed(thrown as ServiceError, address);
  } finally {
    client.close();
  }
}

/** One call that has one answer. Throws a CallFailed when there is an error. */
export async function call<S extends Service & Parameters<typeof serviceDefinition>[0], Name extends Of<S, false>>(
  address: string,
  service: S,
  name: Name,
  request: Request<S['methods'][Name]>,
): Promise<Response<S['methods'][Name]>> {
  const client = open(address);
  try {
    const method = serviceDefinition(service)[name]!;
    return await new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize as (bytes: Buffer) => Response<S['methods'][Name]>,
        request,
        (error, response) => (error === null ? resolve(response!) : reject(error)),
      );
    });
  } catch (thrown) {
    throw callFailed(thrown as ServiceError, address);
  } finally {
    client.close();
  }
}

function open(address: string): Client {
  return new Client(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': 64 * 1024 * 1024 });
}

/** A call that ended with an error, for people and for programs. */
export class CallFailed extends Exit {
  readonly status: status;
  /** One of those in errors.proto; `undefined` when the error is not Daybook's. */
  readonly reason: string | undefined;
  /** When the domain said no. */
  readonly rejection: Rejection | undefined;

  constructor(code: number, sentence: string, error: ServiceError) {
    super(code, sentence);
    this.status = error.code;
    const details = detailsOf(error.metadata);
    this.reason = details.reason;
    this.rejection = details.rejection;
  }
}

function callFailed(error: ServiceError, address: string): CallFailed {
  const { reason } = detailsOf(error.metadata);
  if (reason !== undefined) return new CallFailed(EXIT.fault, plainText(`${reason}: ${error.details}`), error);
  if (error.code === status.UNAVAILABLE) {
    const sentence = `no Daybook answers at ${address}: is it running? (--address names another place)`;
    return new CallFailed(EXIT.unreachable, sentence, error);
  }
  return new CallFailed(
    EXIT.fault,
    plainText(`${status[error.code] ?? 'ERROR'}: ${error.details ?? error.message}`),
    error,
  );
}

/** What travels with a status: the reason of its google.rpc.ErrorInfo, and the rejection if it is one; see errors.proto. */
function detailsOf(metadata: Metadata | undefined): { reason?: string; rejection?: Rejection } {
  const [bytes] = metadata?.get('grpc-status-details-bin') ?? [];
  const found: { reason?: string; rejection?: Rejection } = {};
  if (!(bytes instanceof Uint8Array)) return found;
  try {
    // google.rpc.Status.details = 3, each an Any{type_url=1, value=2}; ErrorInfo{reason=1, domain=2}.
    for (const detail of fields(bytes, 3)) {
      const type = typeName(texts(detail, 1)[0] ?? '');
      const [value = new Uint8Array()] = fields(detail, 2);
      if (type === 'google.rpc.ErrorInfo') found.reason = texts(value, 1)[0]!;
      if (type === 'daybook.v1.Rejection') found.rejection = Rejection.decode(value);
    }
  } catch {
    // Not from Daybook: the status has to do.
  }
  return found;
}
