// The host of the rebuild's benchmark: an aggregate that says yes to everything, and a projector that counts.

import { attach, foldProjector, packJson, unpackJson } from '@daybook/client';

const [address] = process.argv.slice(2);
const credits = { items: 1000, bytes: 16 << 20 };
const host = attach({
  address: address!,
  name: 'bench',
  aggregates: [
    {
      domain: 'counter',
      initial: () => 0,
      evolve: (count: number) => count + 1,
      decide: (_: number, commands) => [...commands],
      credits,
    },
  ],
  projectors: [
    foldProjector({
      name: 'totals',
      domains: ['counter'],
      initial: () => 0,
      evolve: (count: number) => count + 1,
      encode: (count: number) => packJson('bench.Total', { count }),
      decode: (row) => (unpackJson(row).value as { count: number }).count,
      credits,
    }),
  ],
});
await host.ready();
console.log('ready');
process.on('SIGTERM', () => void host.close().then(() => process.exit(0)));
