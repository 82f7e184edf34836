// The shop as a program: attaches to a daemon, decides and reacts, until it is told to stop.
//
//   node examples/shop/host.ts [host:port]

import { readFileSync } from 'node:fs';
import { attach, type Host } from '@daybook/client';
import { fulfilment } from './fulfilment.ts';
import { inventory } from './inventory.ts';
import { orders } from './order.ts';
import { orderSummary } from './order-summary.ts';
import { payments } from './payment.ts';
import { paymentProcess } from './payment-process.ts';
import { stockLevels } from './stock-levels.ts';

export interface ShopOptions {
  /** Projectors, saga and process manager too. Without them orders are decided, and nothing follows. Default: true. */
  reactors?: boolean;
  /** How long a customer has to pay. Default: 15 minutes. */
  paymentDeadlineMs?: number;
}

export function attachShop(address: string, options: ShopOptions = {}): Host {
  const { reactors = true, paymentDeadlineMs: deadlineMs } = options;
  return attach({
    address,
    name: 'shop',
    aggregates: [orders, inventory, payments],
    ...(reactors && {
      projectors: [orderSummary, stockLevels],
      sagas: [fulfilment],
      processManagers: [paymentProcess(deadlineMs === undefined ? {} : { deadlineMs })],
    }),
    // Lets `daybook events` show what is inside an event.
    descriptors: readFileSync(new URL('gen/shop.binpb', import.meta.url)),
  });
}

if (import.meta.main) {
  const host = attachShop(process.argv[2] ?? '127.0.0.1:4310');
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void host.close());
  await host.ready();
  console.log('the shop is attached, and decides about orders, stock and payments');
  const refused = await host.closed;
  if (refused !== undefined) throw refused;
}
