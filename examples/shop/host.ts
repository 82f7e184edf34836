// The shop as a program: attaches to a daemon and decides about orders until it is told to stop.
//
//   node examples/shop/host.ts [host:port]

import { readFileSync } from 'node:fs';
import { attach, type Host } from '@daybook/client';
import { orders } from './order.ts';

export function attachShop(address: string): Host {
  return attach({
    address,
    name: 'shop',
    aggregates: [orders],
    // Lets `daybook events` show what is inside an event.
    descriptors: readFileSync(new URL('gen/shop.binpb', import.meta.url)),
  });
}

if (import.meta.main) {
  const host = attachShop(process.argv[2] ?? '127.0.0.1:4310');
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void host.close());
  await host.ready();
  console.log('the shop is attached, and decides about orders');
  const refused = await host.closed;
  if (refused !== undefined) throw refused;
}
