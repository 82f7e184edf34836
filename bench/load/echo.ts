// The yardstick of everything that comes by gRPC: a bare server that sends back what it gets.

import * as grpc from '@grpc/grpc-js';
import { serve } from '../lib/processes.ts';
import { ECHO } from './transport.ts';

const server = new grpc.Server();
server.addService(ECHO, {
  unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, callback: grpc.sendUnaryData<Buffer>) =>
    callback(null, call.request),
  stream: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
    call.on('data', (message: Buffer) => call.write(message));
    call.on('end', () => call.end());
  },
});
const port = await new Promise<number>((resolve, reject) => {
  server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
    error === null ? resolve(bound) : reject(error),
  );
});

serve<{ kind: 'address' }, string>(
  async () => `127.0.0.1:${port}`,
  () => server.forceShutdown(),
);
