// A served saga whose handler dies of every event, in the way that the first argument names. Says its port.
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { SagaDefinition } from '../../../src/gen/daybook/v1/component.ts';
import { serviceDefinition } from '../../../src/grpc/definition.ts';

const DEATHS: { [name: string]: () => void } = {
  killed: () => process.kill(process.pid, 'SIGKILL'),
  exits: () => process.exit(1),
  throws: () => {
    setImmediate(() => {
      throw new Error('a defect in the handler');
    });
  },
};

const server = new Server();
let calls = 0;
server.addService(serviceDefinition(SagaDefinition), {
  // With two in hand: both are lost.
  handle: () => {
    if (++calls === 2) DEATHS[process.argv[2]!]!();
  },
});
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (_, port) => console.log(port));
