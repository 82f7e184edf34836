// A whole daemon in this process, on a free port, and raw clients of its wire contract: what a client in any language sees.

import { BinaryReader } from '@bufbuild/protobuf/wire';
import {
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  Metadata,
  type ServiceDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { type Config, loadConfig } from '../../src/config.ts';
import {
  ComponentHostDefinition,
  type ComponentMessage,
  type CoordinatorMessage,
} from '../../src/gen/daybook/v1/component.ts';
import { ControlDefinition } from '../../src/gen/daybook/v1/control.ts';
import {
  BusinessCoordinatorDefinition,
  ProcessManagerCoordinatorDefinition,
  ProjectorCoordinatorDefinition,
  SagaCoordinatorDefinition,
} from '../../src/gen/daybook/v1/coordinators.ts';
import { DeadLettersDefinition } from '../../src/gen/daybook/v1/dead_letters.ts';
import { CommandGatewayDefinition } from '../../src/gen/daybook/v1/gateway.ts';
import { PositionsDefinition } from '../../src/gen/daybook/v1/positions.ts';
import { ProjectionsDefinition } from '../../src/gen/daybook/v1/projections.ts';
import { EventQueryDefinition, EventStreamDefinition } from '../../src/gen/daybook/v1/query.ts';
import { type GenericService, serviceDefinition } from '../../src/grpc/definition.ts';
import { type Daemon, startDaemon } from '../../src/main.ts';
import type { Store } from '../../src/store.ts';
import { type Logger, openLog } from '../../src/telemetry/log.ts';

export interface TestDaemon extends AsyncDisposable {
  readonly daemon: Daemon;
  readonly config: Config;
  readonly address: string;
  /** Lines of its log. */
  readonly logLines: string[];
  client(): TestClient;
}

/** Settings as in the environment, such as `{ DAYBOOK__LIMITS__MESSAGE_BYTES: '65536' }`. */
export async function testDaemon(options: { env?: Record<string, string>; store?: Store } = {}): Promise<TestDaemon> {
  const config = loadConfig({
    env: {
      DAYBOOK__STORAGE__TYPE: 'memory',
      DAYBOOK__LISTEN__ADDRESS: '127.0.0.1:0',
      DAYBOOK__LISTEN__HEALTH: '127.0.0.1:0',
      ...options.env,
    },
    cwd: '/nonexistent',
  });
  const logLines: string[] = [];
  const log: Logger = await openLog({
    level: 'debug',
    stream: { write: (line) => logLines.push(line) },
    pretty: false,
  });
  const { store } = options;
  const daemon = await startDaemon(config, log, store && { openStore: () => Promise.resolve(store) });
  const clients: TestClient[] = [];
  return {
    daemon,
    config,
    address: daemon.addresses.api!,
    logLines,
    client() {
      const client = new TestClient(daemon.addresses.api!);
      clients.push(client);
      return client;
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.close();
      await daemon.stop();
    },
  };
}

const SERVICES: { [name: string]: GenericService } = {
  gateway: CommandGatewayDefinition,
  business: BusinessCoordinatorDefinition,
  query: EventQueryDefinition,
  stream: EventStreamDefinition,
  host: ComponentHostDefinition,
  positions: PositionsDefinition,
  projectorCoordinator: ProjectorCoordinatorDefinition,
  sagaCoordinator: SagaCoordinatorDefinition,
  processManagerCoordinator: ProcessManagerCoordinatorDefinition,
  projections: ProjectionsDefinition,
  deadLetters: DeadLettersDefinition,
  control: ControlDefinition,
};

/** Calls by `service.method`, with the generated messages as they are. */
export class TestClient {
  readonly #client: Client;
  readonly #streams: { cancel(): void; on(event: 'error', ignore: () => void): unknown }[] = [];
  readonly #definitions: { [name: string]: ServiceDefinition };

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
      // One connection each.
      'grpc.use_local_subchannel_pool': 1,
    });
    this.#definitions = Object.fromEntries(
      Object.entries(SERVICES).map(([name, def]) => [name, serviceDefinition(def)]),
    );
  }

  #method(name: string) {
    const [service, method] = name.split('.') as [string, string];
    return this.#definitions[service]![method]!;
  }

  unary<Response>(
    name: string,
    request: unknown,
    options: { deadlineMs?: number; metadata?: Record<string, string> } = {},
  ): Promise<Response> {
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    const metadata = new Metadata();
    for (const [key, value] of Object.entries(options.metadata ?? {})) metadata.set(key, value);
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        options.deadlineMs === undefined ? {} : { deadline: Date.now() + options.deadlineMs },
        (error, response) => (error === null ? resolve(response as Response) : reject(error)),
      );
    });
  }

  /** Raw bytes to a unary method. */
  bytes(name: string, request: Buffer): Promise<unknown> {
    const { path, responseDeserialize } = this.#method(name);
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        (bytes: Buffer) => bytes,
        responseDeserialize,
        request,
        (error, response) => (error === null ? resolve(response) : reject(error)),
      );
    });
  }

  /** Raw bytes to a method that answers with a stream: all of its messages. */
  streamBytes(name: string, request: Buffer): Promise<unknown[]> {
    const { path, responseDeserialize } = this.#method(name);
    return this.#client.makeServerStreamRequest(path, (bytes: Buffer) => bytes, responseDeserialize, request).toArray();
  }

  serverStream<Response>(
    name: string,
    request: unknown,
    headers: Record<string, string> = {},
  ): ClientReadableStream<Response> {
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    const metadata = new Metadata();
    for (const [key, value] of Object.entries(headers)) metadata.set(key, value);
    const stream = this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize as (bytes: Buffer) => Response,
      request,
      metadata,
    );
    this.#streams.push(stream);
    return stream;
  }

  duplex<Request, Response>(name: string): ClientDuplexStream<Request, Response> {
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    const stream = this.#client.makeBidiStreamRequest(
      path,
      requestSerialize as (message: Request) => Buffer,
      responseDeserialize as (bytes: Buffer) => Response,
    );
    this.#streams.push(stream);
    return stream;
  }

  attach(): TestHost {
    return new TestHost(this.duplex<ComponentMessage, CoordinatorMessage>('host.attach'));
  }

  close(): void {
    for (const stream of this.#streams) {
      stream.on('error', () => {});
      stream.cancel();
    }
    this.#client.close();
  }
}

/** The component's side of an attach stream, without any library: a test sees and sends messages. */
export class TestHost {
  readonly stream: ClientDuplexStream<ComponentMessage, CoordinatorMessage>;
  readonly messages: CoordinatorMessage[] = [];
  /** Set when the stream has ended: with an error, or without. */
  ended: { error?: ServiceError } | undefined;
  #wake: () => void = () => {};
  onMessage: ((message: CoordinatorMessage) => void) | undefined;

  constructor(stream: ClientDuplexStream<ComponentMessage, CoordinatorMessage>) {
    this.stream = stream;
    stream.on('data', (message: CoordinatorMessage) => {
      this.messages.push(message);
      this.onMessage?.(message);
      this.#wake();
    });
    stream.on('error', (error: ServiceError) => {
      this.ended ??= { error };
      this.#wake();
    });
    stream.on('end', () => {
      // An error, if there is one, follows.
      setImmediate(() => {
        this.ended ??= {};
        this.#wake();
      });
    });
  }

  send(message: Partial<ComponentMessage>): void {
    this.stream.write({ hello: undefined, replies: [], drain: undefined, ...message });
  }

  /** The next message of the stream, in order. */
  async next(): Promise<CoordinatorMessage> {
    while (this.messages.length === 0) {
      if (this.ended !== undefined) throw this.ended.error ?? new Error('the stream ended');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.messages.shift()!;
  }

  async whenEnded(): Promise<{ error?: ServiceError }> {
    while (this.ended === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.ended;
  }
}

export interface StatusDetails {
  reason: string;
  domain: string;
  metadata: Record<string, string>;
  types: string[];
}

/** What a client in any language reads from the trailer: google.rpc.Status with google.rpc.ErrorInfo. */
export function detailsOf(error: ServiceError): StatusDetails {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  if (!(bytes instanceof Buffer)) throw new Error(`no status details: ${error.message}`);
  const details: StatusDetails = { reason: '', domain: '', metadata: {}, types: [] };
  for (const any of fields(bytes, 3)) {
    const [typeUrl] = fields(any, 1);
    const [value] = fields(any, 2);
    const type = Buffer.from(typeUrl!).toString();
    details.types.push(type.slice(type.lastIndexOf('/') + 1));
    if (!type.endsWith('/google.rpc.ErrorInfo')) continue;
    details.reason = Buffer.from(fields(value!, 1)[0]!).toString();
    details.domain = Buffer.from(fields(value!, 2)[0]!).toString();
    for (const entry of fields(value!, 3)) {
      const key = Buffer.from(fields(entry, 1)[0] ?? []).toString();
      details.metadata[key] = Buffer.from(fields(entry, 2)[0] ?? []).toString();
    }
  }
  return details;
}

function fields(bytes: Uint8Array, wanted: number): Uint8Array[] {
  const reader = new BinaryReader(bytes);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === wanted && type === 2) found.push(reader.bytes());
    else reader.skip(type);
  }
  return found;
}
