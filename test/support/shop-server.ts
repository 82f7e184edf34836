// A served component of the shop's orders: places every order, with what it can tell by reflection.

import { join } from 'node:path';
import { Server, ServerCredentials, type ServiceDefinition, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import {
  BusinessLogicDefinition,
  type BusinessResponse,
  type ContextualCommand,
} from '../../src/gen/daybook/v1/component.ts';
import { serviceDefinition } from '../../src/grpc/definition.ts';
import { eventBook } from './books.ts';

const SHOP = join(import.meta.dirname, '../../examples/shop/proto');

/** `reflection`: the versions that it offers. */
export async function shopServer(reflection: readonly ('v1' | 'v1alpha')[]) {
  const server = new Server();
  server.addService(serviceDefinition(BusinessLogicDefinition), {
    handle: (call: { request: ContextualCommand }, callback: (error: null, response: BusinessResponse) => void) => {
      // The two messages have the same fields.
      const { value } = call.request.command!.pages[0]!.command!;
      const placed = { typeUrl: 'type.googleapis.com/shop.v1.OrderPlaced', value };
      callback(null, { result: { $case: 'events', value: eventBook([placed]) } });
    },
  });
  const shop = new ReflectionService(loadSync('shop/v1/shop.proto', { includeDirs: [SHOP] }));
  const chosen = {
    addService(service: ServiceDefinition, implementation: UntypedServiceImplementation) {
      const [method] = Object.values(service);
      if (reflection.some((version) => method!.path.includes(`.${version}.`)))
        server.addService(service, implementation);
    },
  };
  shop.addToServer(chosen as Pick<Server, 'addService'>);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });
  return { address: `127.0.0.1:${port}`, [Symbol.dispose]: () => server.forceShutdown() };
}
