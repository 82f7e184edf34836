// The daemon's side of the contract, as far as the tests need it: a real gRPC server whose answers each test writes itself.

import { once } from 'node:events';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import * as grpc from '@grpc/grpc-js';
import {
  ComponentHostDefinition,
  type ComponentMessage,
  CoordinatorMessage,
  type Hello,
  type Reply,
} from '../../src/gen/daybook/v1/component.ts';
import { ControlDefinition } from '../../src/gen/daybook/v1/control.ts';
import { DeadLettersDefinition } from '../../src/gen/daybook/v1/dead_letters.ts';
import {
  CommandGatewayDefinition,
  type PipelinedCommands,
  type PipelinedResults,
} from '../../src/gen/daybook/v1/gateway.ts';
import { PositionsDefinition } from '../../src/gen/daybook/v1/positions.ts';
import { ProjectionsDefinition } from '../../src/gen/daybook/v1/projections.ts';
import { EventQueryDefinition } from '../../src/gen/daybook/v1/query.ts';
import {
  type CommandBook,
  CommandResponse,
  type EventBook,
  EventPage,
  Rejection,
} from '../../src/gen/daybook/v1/types.ts';
import { Any } from '../../src/gen/google/protobuf/any.ts';
import { Duration } from '../../src/gen/google/protobuf/duration.ts';
import { methodOf } from '../../src/transport.ts';

export class FakeDaemon {
  address = '';
  /** What each call is answered with; a test sets what it needs. */
  execute: (book: CommandBook, metadata: grpc.Metadata) => CommandResponse | Promise<CommandResponse> = unexpected;
  executeStream: (call: grpc.ServerWritableStream<CommandBook, EventBook>) => void = unexpected;
  executePipelined: (call: grpc.ServerDuplexStream<PipelinedCommands, PipelinedResults>) => void = unexpected;
  getEventBook: () => EventBook = unexpected;
  /** For the other services: what `Projections.Get` answers, and so on. A stream is answered with an array. */
  readonly answers: Record<string, (request: unknown) => unknown> = {};
  readonly attachments = new Inbox<Attachment>();
  /** Answers a Hello. */
  welcome: (attachment: Attachment) => void = (attachment) => attachment.welcome();
  #server = new grpc.Server();

  static async start(port = 0): Promise<FakeDaemon> {
    const daemon = new FakeDaemon();
    await daemon.#listen(port);
    return daemon;
  }

  /** As if it had crashed: every connection is gone. */
  stop(): void {
    this.#server.forceShutdown();
  }

  async restart(): Promise<void> {
    this.#server = new grpc.Server();
    await this.#listen(Number(this.address.split(':')[1]));
  }

  async #listen(port: number): Promise<void> {
    const gateway = CommandGatewayDefinition.methods;
    this.#server.addService(
      {
        execute: methodOf(CommandGatewayDefinition, gateway.execute),
        executeStream: methodOf(CommandGatewayDefinition, gateway.executeStream),
        executePipelined: methodOf(CommandGatewayDefinition, gateway.executePipelined),
        getEventBook: methodOf(EventQueryDefinition, EventQueryDefinition.methods.getEventBook),
        attach: methodOf(ComponentHostDefinition, ComponentHostDefinition.methods.attach),
      },
      {
        execute: (
          call: grpc.ServerUnaryCall<CommandBook, CommandResponse>,
          callback: grpc.sendUnaryData<CommandResponse>,
        ) => answer(() => this.execute(call.request, call.metadata), callback),
        getEventBook: (_call: unknown, callback: grpc.sendUnaryData<EventBook>) =>
          answer(() => this.getEventBook(), callback),
        executeStream: (call: grpc.ServerWritableStream<CommandBook, EventBook>) => this.executeStream(call),
        executePipelined: (call: grpc.ServerDuplexStream<PipelinedCommands, PipelinedResults>) =>
          this.executePipelined(call),
        attach: (call: grpc.ServerDuplexStream<ComponentMessage, CoordinatorMessage>) => this.#attach(call),
      },
    );
    for (const definition of OTHERS) {
      for (const method of Object.values(definition.methods)) this.#addMethod(definition, method as AnyMethod);
    }
    const bound = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, actual) =>
        error === null ? resolve(actual) : reject(error),
      );
    });
    this.address = `127.0.0.1:${bound}`;
  }

  #addMethod(definition: (typeof OTHERS)[number], method: AnyMethod): void {
    const handler = (request: unknown) => (this.answers[`${definition.name}.${method.name}`] ?? unexpected)(request);
    const unary = (call: grpc.ServerUnaryCall<unknown, unknown>, callback: grpc.sendUnaryData<unknown>): void =>
      answer(() => handler(call.request), callback);
    const stream = (call: grpc.ServerWritableStream<unknown, unknown>): void => {
      for (const message of handler(call.request) as unknown[]) call.write(message);
      call.end();
    };
    this.#server.addService(
      { [method.name]: methodOf(definition, method) },
      { [method.name]: method.responseStream ? stream : unary },
    );
  }

  #attach(call: grpc.ServerDuplexStream<ComponentMessage, CoordinatorMessage>): void {
    const attachment = new Attachment(call);
    call.once('data', (first: ComponentMessage) => {
      attachment.hello = first.hello;
      call.on('data', (message: ComponentMessage) => attachment.messages.put(message));
      this.welcome(attachment);
      this.attachments.put(attachment);
    });
  }
}

type AnyMethod = Parameters<typeof methodOf<unknown, unknown>>[1];

const OTHERS = [ProjectionsDefinition, PositionsDefinition, DeadLettersDefinition, ControlDefinition] as const;

/** One Attach stream, seen from the daemon. */
export class Attachment {
  hello: Hello | undefined;
  readonly messages = new Inbox<ComponentMessage>();
  readonly call: grpc.ServerDuplexStream<ComponentMessage, CoordinatorMessage>;
  readonly closedByHost: Promise<unknown>;

  constructor(call: grpc.ServerDuplexStream<ComponentMessage, CoordinatorMessage>) {
    this.call = call;
    this.closedByHost = once(call, 'end');
    this.closedByHost.catch(() => {});
    call.on('error', () => {});
  }

  welcome(limits: { messageBytes?: number } = {}): void {
    this.send({ welcome: { protocolVersion: 1, messageBytes: 4 * 1024 * 1024, ...limits } });
  }

  send(message: Parameters<typeof CoordinatorMessage.fromPartial>[0]): void {
    this.call.write(CoordinatorMessage.fromPartial(message));
  }

  /** The reply of the next message, which must have exactly one. */
  async reply(): Promise<Reply> {
    const { replies } = await this.messages.take();
    if (replies.length !== 1) throw new Error(`expected one reply, found ${replies.length}`);
    return replies[0]!;
  }
}

/** What arrives, until somebody takes it. */
export class Inbox<T> {
  readonly #items: T[] = [];
  readonly #takers: ((item: T) => void)[] = [];

  put(item: T): void {
    const taker = this.#takers.shift();
    if (taker === undefined) this.#items.push(item);
    else taker(item);
  }

  take(): Promise<T> {
    const item = this.#items.shift();
    return item === undefined ? new Promise((resolve) => this.#takers.push(resolve)) : Promise.resolve(item);
  }
}

/** An error as the daemon sends it. */
export function daybookError(
  code: number,
  reason: string,
  metadata: Record<string, string> = {},
  more: { rejection?: Rejection; retryDelayMs?: number } = {},
): grpc.ServiceError {
  const info = new BinaryWriter().uint32(10).string(reason).uint32(18).string('daybook');
  for (const [key, value] of Object.entries(metadata)) {
    info.uint32(26).fork().uint32(10).string(key).uint32(18).string(value).join();
  }
  const details = [{ typeUrl: 'type.googleapis.com/google.rpc.ErrorInfo', value: info.finish() }];
  if (more.rejection !== undefined) {
    details.push({
      typeUrl: 'type.googleapis.com/daybook.v1.Rejection',
      value: Rejection.encode(more.rejection).finish(),
    });
  }
  if (more.retryDelayMs !== undefined) {
    const delay = new BinaryWriter().uint32(10).fork();
    Duration.encode({ seconds: Math.floor(more.retryDelayMs / 1000), nanos: (more.retryDelayMs % 1000) * 1e6 }, delay);
    details.push({ typeUrl: 'type.googleapis.com/google.rpc.RetryInfo', value: delay.join().finish() });
  }
  const status = new BinaryWriter().uint32(8).int32(code).uint32(18).string(`about ${reason}`);
  for (const detail of details) Any.encode(detail, status.uint32(26).fork()).join();
  const trailer = new grpc.Metadata();
  trailer.set('grpc-status-details-bin', Buffer.from(status.finish()));
  return Object.assign(new Error(reason), { code, details: `about ${reason}`, metadata: trailer });
}

export function responseTo(book: CommandBook, pages: EventPage[] = []): CommandResponse {
  return CommandResponse.fromPartial({ events: { cover: book.cover!, pages }, settled: true });
}

export function page(sequence: number, event: Any): EventPage {
  return EventPage.fromPartial({ sequence, event, position: sequence + 1 });
}

function answer<T>(make: () => T | Promise<T>, callback: grpc.sendUnaryData<T>): void {
  Promise.resolve()
    .then(make)
    .then(
      (value) => callback(null, value),
      (error) => callback(error),
    );
}

function unexpected(): never {
  throw new Error('this test expected no such call');
}
