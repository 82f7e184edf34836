// The floor of P3: what a command cannot do without, and nothing else. A unary call comes in, one message goes to another process and
// back on an open stream, one row is inserted and synced, and the call is answered. No message is looked into.

import * as grpc from '@grpc/grpc-js';
import pg from 'pg';
import { serve } from '../lib/processes.ts';
import { insertRow } from './sql.ts';
import { clientOf, closeAll, duplex, ECHO, listen } from './transport.ts';

export interface BareJob {
  /** Of an echo, which stands for the domain code. */
  host: string;
  /** Of the table of `yardstickDatabase`. */
  url: string;
}

const server = new grpc.Server();
let database: pg.Client | undefined;

async function open({ host, url }: BareJob): Promise<string> {
  database = new pg.Client(url);
  await database.connect();
  const insert = insertRow(database);
  const stream = duplex(clientOf(host), ECHO.stream.path);
  const waiting: ((decided: Buffer) => void)[] = [];
  stream.on('data', (decided: Buffer) => waiting.shift()!(decided));
  server.addService(ECHO, {
    unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, callback: grpc.sendUnaryData<Buffer>) => {
      waiting.push((decided) => {
        insert().then(() => callback(null, decided), callback);
      });
      stream.write(call.request);
    },
  });
  return listen(server);
}

serve(open, async () => {
  server.forceShutdown();
  closeAll();
  await database?.end();
});
