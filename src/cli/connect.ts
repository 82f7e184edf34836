// From a command to a daemon.

import { BinaryReader } from '@bufbuild/protobuf/wire';
import { Client, credentials, type Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { hostPortText, loadConfig } from '../config.ts';
import { EventQueryDefinition } from '../gen/daybook/v1/query.ts';
import { serviceDefinition } from '../grpc/definition.ts';
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

type Methods = typeof EventQueryDefinition.methods;
type Streaming = {
  [name in keyof Methods]: Methods[name] extends { requestStream: false; responseStream: true } ? name : never;
}[keyof Methods];
type Message<T> = T extends { decode(input: Uint8Array): infer M } ? M : never;

/** The answers of one call to EventQuery, one by one. Throws an Exit when there is an error. */
export async function* ask<Name extends Streaming>(
  address: string,
  name: Name,
  request: Message<Methods[Name]['requestType']>,
): AsyncGenerator<Message<Methods[Name]['responseType']>> {
  const client = new Client(address, credentials.createInsecure(), {
    'grpc.max_receive_message_length': 64 * 1024 * 1024,
  });
  try {
    const method = serviceDefinition(EventQueryDefinition)[name]!;
    yield* client.makeServerStreamRequest(method.path, method.requestSerialize, method.responseDeserialize, request);
  } catch (thrown) {
    throw callFailed(thrown as ServiceError, address);
  } finally {
    client.close();
  }
}

function callFailed(error: ServiceError, address: string): Exit {
  const reason = errorReason(error.metadata);
  if (reason !== undefined) return new Exit(EXIT.fault, `${plainText(`${reason}: ${error.details}`)}`);
  if (error.code === status.UNAVAILABLE) {
    return new Exit(
      EXIT.unreachable,
      `no Daybook answers at ${address}: is it running? (--address names another place)`,
    );
  }
  return new Exit(EXIT.fault, plainText(`${status[error.code] ?? 'ERROR'}: ${error.details ?? error.message}`));
}

/** The reason in the google.rpc.ErrorInfo of a status; see errors.proto. */
export function errorReason(metadata: Metadata | undefined): string | undefined {
  const [bytes] = metadata?.get('grpc-status-details-bin') ?? [];
  if (!(bytes instanceof Uint8Array)) return undefined;
  try {
    // google.rpc.Status.details = 3, each an Any{type_url=1, value=2}; ErrorInfo{reason=1, domain=2}.
    for (const detail of fields(bytes, 3)) {
      const [type] = fields(detail, 1);
      if (!new TextDecoder().decode(type).endsWith('/google.rpc.ErrorInfo')) continue;
      const [info = new Uint8Array()] = fields(detail, 2);
      const [reason] = fields(info, 1);
      return new TextDecoder().decode(reason);
    }
  } catch {
    // Not from Daybook: the status has to do.
  }
  return undefined;
}

/** The values of a field that holds bytes, texts or messages. */
function fields(message: Uint8Array, number: number): Uint8Array[] {
  const reader = new BinaryReader(message);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === number && wireType === 2) found.push(reader.bytes());
    else reader.skip(wireType, field);
  }
  return found;
}
