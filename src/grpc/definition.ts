// From generated definitions to grpc-js: the one place where messages become bytes and bytes messages.

import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { type Encoder, encode } from '../encode.ts';
import { type DaybookError, invalid } from '../errors.ts';
import { tooLarge } from '../model/validation.ts';

/** As ts-proto generates them. */
interface MessageType<T> extends Encoder<T> {
  decode(input: Uint8Array): T;
}

interface GenericMethod {
  readonly name: string;
  // Messages of any type: the compiler cannot relate a table's rows to each other.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readonly requestType: MessageType<any>;
  readonly requestStream: boolean;
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readonly responseType: MessageType<any>;
  readonly responseStream: boolean;
}

export interface GenericService {
  readonly fullName: string;
  readonly methods: { readonly [key: string]: GenericMethod };
}

/**
 * Stands in for a request that cannot be used, so that the handler answers with our error; the transport's own answer would have
 * none of our details.
 */
export class Refused {
  readonly error: DaybookError;
  /** The message, when only its size is wrong. */
  readonly message: unknown;

  constructor(error: DaybookError, message: unknown) {
    this.error = error;
    this.message = message;
  }
}

/** For clients: bytes that cannot be read become an error of the call. */
export function serviceDefinition(service: GenericService): ServiceDefinition {
  return definition(service, (method) => (bytes) => method.requestType.decode(bytes));
}

/** For servers: requests that cannot be read, or are over the limit, arrive as `Refused`. */
export function serverDefinition(service: GenericService, messageBytes: number): ServiceDefinition {
  return definition(service, (method) => (bytes) => {
    let message: unknown;
    try {
      message = method.requestType.decode(bytes);
    } catch (cause) {
      const what = cause instanceof Error ? cause.message : String(cause);
      return new Refused(
        invalid('message', `${service.fullName}/${method.name}: not a readable message: ${what}`),
        undefined,
      );
    }
    return bytes.length > messageBytes
      ? new Refused(tooLarge('message', bytes.length, messageBytes), message)
      : message;
  });
}

function definition(
  service: GenericService,
  deserialize: (method: GenericMethod) => (bytes: Buffer) => unknown,
): ServiceDefinition {
  const methods: Record<string, MethodDefinition<unknown, unknown>> = {};
  for (const [key, method] of Object.entries(service.methods)) {
    methods[key] = {
      path: `/${service.fullName}/${method.name}`,
      originalName: key,
      requestStream: method.requestStream,
      responseStream: method.responseStream,
      requestSerialize: (message) => view(encode(method.requestType, message)),
      requestDeserialize: deserialize(method),
      responseSerialize: (message) => view(encode(method.responseType, message)),
      responseDeserialize: (bytes) => method.responseType.decode(bytes),
    };
  }
  return methods;
}

/** The same bytes, not a copy. */
function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
