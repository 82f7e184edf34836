// Served components: reachable, and what the configuration says they are?

import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { type Config, nameOf } from '../../config.ts';
import { type Finding, fault, ok } from './finding.ts';

const REACH_MS = 2000;

/** Per kind: the method that Daybook calls. */
const METHODS: { [kind: string]: { service: string; method: string } } = {
  aggregate: { service: 'daybook.v1.BusinessLogic', method: 'Handle' },
  projector: { service: 'daybook.v1.Projector', method: 'Handle' },
  saga: { service: 'daybook.v1.Saga', method: 'Handle' },
  process_manager: { service: 'daybook.v1.ProcessManager', method: 'Handle' },
  upcaster: { service: 'daybook.v1.Upcaster', method: 'Upcast' },
};

export function checkComponents(components: Config['components']): Promise<Finding[]> {
  return Promise.all(components.map((entry) => checkComponent(entry.kind, nameOf(entry), entry.address)));
}

async function checkComponent(kind: string, name: string, address: string): Promise<Finding> {
  const about = `${kind.replace('_', ' ')} ${name}`;
  const { service, method } = METHODS[kind]!;
  const client = new Client(address, credentials.createInsecure());
  try {
    const reached = await new Promise<boolean>((resolve) => {
      client.waitForReady(Date.now() + REACH_MS, (error) => resolve(error === undefined || error === null));
    });
    if (!reached) return fault(about, `nobody answers at ${address}: start it, or correct its address`);
    const code = await probe(client, `/${service}/${method}`);
    if (code === status.UNIMPLEMENTED) {
      return fault(about, `the server at ${address} does not have ${service}: is it the right one?`);
    }
    if (code === status.UNAUTHENTICATED || code === status.PERMISSION_DENIED) {
      return fault(about, `the server at ${address} refuses callers (${status[code]}): let Daybook call ${service}`);
    }
    return ok(about, `${service} answers at ${address}`);
  } finally {
    client.close();
  }
}

/** Bytes that are no message: whoever has the method answers that it cannot read them, and no domain code is run. */
function probe(client: Client, path: string): Promise<status> {
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      path,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      Buffer.from([0xff]),
      { deadline: Date.now() + REACH_MS },
      (error: ServiceError | null) => resolve(error?.code ?? status.OK),
    );
  });
}
