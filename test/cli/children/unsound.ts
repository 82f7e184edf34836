// Counters that break a rule of domain code, in the way that the first argument names.

import { type Aggregate, attach, packJson, unpackJson } from '@daybook/client';

const [, , fault, address] = process.argv;
/** What should have been a part of the row. */
const counts = new Map<string, number>();

const counter: Aggregate<number> = {
  domain: 'counter',
  initial: () => 0,
  evolve: (count) => count + 1,
  decide: (count) => {
    // Another one each time.
    const by = fault === 'random' ? Math.random() : 1;
    return [packJson('Counted', { by, to: count + 1 })];
  },
};

attach({
  address: address!,
  name: 'unsound',
  aggregates: [counter],
  projectors: [
    {
      name: 'counts',
      domains: ['counter'],
      project: (pages, { root, current }) => {
        const key = Buffer.from(root).toString('hex');
        const before = current?.projection === undefined ? 0 : Number(unpackJson(current.projection).value);
        const count = (fault === 'remembers' ? (counts.get(key) ?? 0) : before) + pages.length;
        counts.set(key, count);
        return [{ payload: packJson('Count', count) }];
      },
    },
  ],
});
