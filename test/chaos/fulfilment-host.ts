// A process that hosts the shop and its witnesses, until it is killed: node test/chaos/fulfilment-host.ts <host:port> <patience in ms>

import { attach } from '@daybook/client';
import { attachShop } from '../../examples/shop/host.ts';
import { counting, echo, tally, wall, watch } from './witness.ts';

const [address = '', patience = ''] = process.argv.slice(2);
const patienceMs = Number(patience);
const hosts = [
  attachShop(address, { paymentDeadlineMs: patienceMs }),
  attach({
    address,
    name: 'witness',
    aggregates: [tally, wall],
    sagas: [counting, echo],
    // Some orders are paid before it runs out, some after.
    processManagers: [watch(patienceMs / 10)],
  }),
];
await Promise.all(hosts.map((host) => host.ready()));
console.log('ready');
const refused = await Promise.race(hosts.map((host) => host.closed));
throw refused ?? new Error('hosting ended');
