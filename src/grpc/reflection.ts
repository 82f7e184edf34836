// Server reflection: which services there are, and what their messages look like. The library that knows it, and what it is told, are
// loaded by the first call: nothing else needs them, and they take 16 MB and a third of the time of a start.

import { readFile } from 'node:fs/promises';
import type {
  handleBidiStreamingCall as Serve,
  Server,
  ServerDuplexStream,
  ServiceDefinition,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { shipped } from '../shipped.ts';
import type { Logger } from '../telemetry/log.ts';
import { statusOf } from './status.ts';

/** Of all services here: scripts/descriptors.ts makes it. */
const DESCRIPTORS = shipped('gen/descriptors.binpb');
const VERSIONS = ['v1', 'v1alpha'] as const;
const METHOD = 'ServerReflectionInfo';

type Call = ServerDuplexStream<Buffer, Buffer>;
type Handlers = Map<string, (call: Call) => void>;

/** `services` by their full names. */
export function addReflection(server: Server, services: string[], log: Logger): void {
  let loading: Promise<Handlers> | undefined;
  for (const version of VERSIONS) {
    const path = `/grpc.reflection.${version}.ServerReflection/${METHOD}`;
    server.addService(bytesIn(path), {
      [METHOD]: (call: Call) => {
        loading ??= load(services);
        loading.then(
          (handlers) => handlers.get(path)!(call),
          (error) => {
            loading = undefined;
            call.emit('error', statusOf(error, log));
          },
        );
      },
    });
  }
}

function bytesIn(path: string): ServiceDefinition {
  const same = (bytes: Buffer) => bytes;
  const codec = {
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
  return { [METHOD]: { path, requestStream: true, responseStream: true, ...codec } };
}

async function load(services: string[]): Promise<Handlers> {
  const [{ ReflectionService }, { fromBinary, toBinary }, { FileDescriptorProtoSchema, FileDescriptorSetSchema }] =
    await Promise.all([import('@grpc/reflection'), import('@bufbuild/protobuf'), import('@bufbuild/protobuf/wkt')]);
  // Not by way of proto-loader, which drops what a file imports, so that grpcurl and others cannot use it (grpc-node issue 2958).
  const { file } = fromBinary(FileDescriptorSetSchema, await readFile(DESCRIPTORS));
  const fileDescriptorProtos = file.map((one) => Buffer.from(toBinary(FileDescriptorProtoSchema, one)));
  const definition = { all: { fileDescriptorProtos } } as unknown as PackageDefinition;
  const handlers: Handlers = new Map();
  const addService = (service: ServiceDefinition, implementation: UntypedServiceImplementation) => {
    const { path, requestDeserialize, responseSerialize } = service[METHOD]!;
    const serve = implementation[METHOD] as Serve<unknown, unknown>;
    handlers.set(path, (call) => serve(decoded(call, requestDeserialize, responseSerialize)));
  };
  new ReflectionService(definition, { services }).addToServer({ addService } as unknown as Server);
  return handlers;
}

/** As much of a call as the library's handlers use. */
function decoded(call: Call, read: (bytes: Buffer) => unknown, written: (message: unknown) => Buffer) {
  const facade = {
    on(event: string, listener: (message?: unknown) => void) {
      call.on(event, event === 'data' ? (bytes: Buffer) => listener(read(bytes)) : listener);
      return facade;
    },
    write: (message: unknown) => call.write(written(message)),
    end: () => call.end(),
  };
  return facade as unknown as ServerDuplexStream<unknown, unknown>;
}
