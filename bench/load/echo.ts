// The yardstick of everything that comes by gRPC: a bare server that sends back what it gets.

import * as grpc from '@grpc/grpc-js';
import { serve } from '../lib/processes.ts';
import { ECHO, listen } from './transport.ts';

const server = new grpc.Server();
server.addService(ECHO, {
  unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, callback: grpc.sendUnaryData<Buffer>) =>
    callback(null, call.request),
  stream: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
    call.on('data', (message: Buffer) => call.write(message));
    call.on('end', () => call.end());
  },
});
const address = await listen(server);

serve<{ kind: 'address' }, string>(
  async () => address,
  () => server.forceShutdown(),
);
