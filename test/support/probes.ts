// What probes and load balancers ask.

import { type ClientReadableStream, credentials, makeGenericClientConstructor, type ServiceError } from '@grpc/grpc-js';
import { service as healthDefinition } from 'grpc-health-check';

type Health = { status: string };

/** As any client of grpc.health.v1 does it. */
export function healthClient(address: string) {
  const Client = makeGenericClientConstructor(healthDefinition as never, 'Health');
  const client = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  return {
    check: (service = '') =>
      new Promise<string>((resolve, reject) => {
        client.check!({ service }, (error: ServiceError | null, response: Health) =>
          error === null ? resolve(response.status) : reject(error),
        );
      }),
    watch() {
      const seen: string[] = [];
      let ended = false;
      const stream = client.watch!({ service: '' }) as unknown as ClientReadableStream<Health>;
      stream.on('data', ({ status }: Health) => seen.push(status));
      stream.on('error', () => {});
      stream.on('end', () => {
        ended = true;
      });
      return { seen, cancel: () => stream.cancel(), ended: () => ended };
    },
    close: () => client.close(),
  };
}
