// Asks a gRPC server for the descriptors of types (grpc.reflection.v1, else v1alpha). The messages are written by hand, as those of
// google.rpc are: a few fields that never change.

import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { Client, type ClientDuplexStream, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { isWellKnown } from './descriptor-sets.ts';
import { fields, texts } from './wire.ts';

export interface ReflectionAnswer {
  /** Full names, those of gRPC's own services included. */
  services: string[];
  /** Serialized google.protobuf.FileDescriptorProtos by file name, with all that they import. */
  files: Map<string, Uint8Array>;
}

const FILES_MAX = 1000;
const BYTES_MAX = 4 << 20;

/** `symbols`: full names; `known`: files that need not be asked for. What the server does not know is passed over. */
export async function askReflection(
  address: string,
  symbols: readonly string[],
  known: ReadonlySet<string>,
  /** By the wall clock. */
  deadlineMs: number,
): Promise<ReflectionAnswer> {
  const client = new Client(address, credentials.createInsecure());
  try {
    try {
      return await ask(new Questions(client, 'v1', deadlineMs), symbols, known);
    } catch (error) {
      if ((error as ServiceError).code !== status.UNIMPLEMENTED) throw error;
      return await ask(new Questions(client, 'v1alpha', deadlineMs), symbols, known);
    }
  } finally {
    client.close();
  }
}

async function ask(
  questions: Questions,
  symbols: readonly string[],
  known: ReadonlySet<string>,
): Promise<ReflectionAnswer> {
  try {
    // list_services_response = 6 { repeated ServiceResponse service = 1 { string name = 1 } }
    const [list] = fields(await questions.ask(LIST_SERVICES, ''), 6);
    const services = list === undefined ? [] : fields(list, 1).map((service) => texts(service, 1)[0] ?? '');
    const files = new Map<string, Uint8Array>();
    const missing: string[] = [];
    let bytes = 0;
    const take = (answer: Uint8Array) => {
      // file_descriptor_response = 4 { repeated bytes file_descriptor_proto = 1 }
      for (const file of fields(answer, 4).flatMap((response) => fields(response, 1))) {
        const [name = ''] = texts(file, 1);
        if (files.has(name)) continue;
        bytes += file.length;
        if (files.size >= FILES_MAX || bytes > BYTES_MAX) throw new Error('it has more descriptors than are taken');
        files.set(name, file);
        missing.push(...texts(file, 3));
      }
    };
    const own = services.filter((name) => !/^(grpc|daybook\.v1)\./.test(name));
    for (const symbol of new Set([...own, ...symbols])) take(await questions.ask(FILE_CONTAINING_SYMBOL, symbol));
    for (let name = missing.pop(); name !== undefined; name = missing.pop()) {
      if (!files.has(name) && !known.has(name) && !isWellKnown(name)) take(await questions.ask(FILE_BY_NAME, name));
    }
    return { services, files };
  } finally {
    questions.end();
  }
}

// Fields of ServerReflectionRequest.
const FILE_BY_NAME = 3;
const FILE_CONTAINING_SYMBOL = 4;
const LIST_SERVICES = 7;

/** One stream of questions, answered in order. */
class Questions {
  readonly #call: ClientDuplexStream<Uint8Array, Buffer>;
  readonly #answers: AsyncIterator<Buffer>;

  constructor(client: Client, version: 'v1' | 'v1alpha', deadline: number) {
    const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;
    this.#call = client.makeBidiStreamRequest(
      path,
      (bytes: Uint8Array) => Buffer.from(bytes),
      (bytes: Buffer) => bytes,
      { deadline },
    );
    this.#answers = this.#call[Symbol.asyncIterator]();
  }

  async ask(field: number, text: string): Promise<Buffer> {
    this.#call.write(new BinaryWriter().tag(field, 2).string(text).finish());
    const { value, done } = await this.#answers.next();
    if (done) throw new Error('it ended the stream');
    return value;
  }

  end(): void {
    // Cancelling makes an error that nobody waits for.
    this.#call.on('error', () => {});
    this.#call.cancel();
  }
}
