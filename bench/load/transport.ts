// gRPC without a codec: bytes in, bytes out.

import * as grpc from '@grpc/grpc-js';

const same = (bytes: Buffer): Buffer => bytes;

export function method(path: string, streams = false): grpc.MethodDefinition<Buffer, Buffer> {
  return {
    path,
    requestStream: streams,
    responseStream: streams,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}

export const ECHO = { unary: method('/bench.Echo/Unary'), stream: method('/bench.Echo/Stream', true) };

/** On a free port; gives the address. */
export function listen(server: grpc.Server): Promise<string> {
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(`127.0.0.1:${port}`) : reject(error),
    );
  });
}

const clients = new Map<string, grpc.Client>();

/** One connection to each address, kept. */
export function clientOf(address: string): grpc.Client {
  let client = clients.get(address);
  if (client === undefined) {
    client = new grpc.Client(address, grpc.credentials.createInsecure());
    clients.set(address, client);
  }
  return client;
}

export function closeAll(): void {
  for (const client of clients.values()) client.close();
}

const NO_METADATA = new grpc.Metadata();

export function unary(client: grpc.Client, path: string, request: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, same, same, request, NO_METADATA, (error, response) => {
      if (error === null) resolve(response!);
      else reject(error);
    });
  });
}

export function duplex(client: grpc.Client, path: string): grpc.ClientDuplexStream<Buffer, Buffer> {
  return client.makeBidiStreamRequest(path, same, same, new grpc.Metadata());
}
