// Server reflection: which services there are, and what their messages look like.

import { readFile } from 'node:fs/promises';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import type { Server } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';

/** Of all services here: scripts/descriptors.ts makes it. */
const DESCRIPTORS = new URL('../gen/descriptors.binpb', import.meta.url);

/** `services` by their full names. */
export async function addReflection(server: Server, services: string[]): Promise<void> {
  // Not by way of proto-loader, which drops what a file imports, so that grpcurl and others cannot use it (grpc-node issue 2958).
  const { file } = fromBinary(FileDescriptorSetSchema, await readFile(DESCRIPTORS));
  const fileDescriptorProtos = file.map((one) => Buffer.from(toBinary(FileDescriptorProtoSchema, one)));
  const definition = { all: { fileDescriptorProtos } } as unknown as PackageDefinition;
  new ReflectionService(definition, { services }).addToServer(server);
}
