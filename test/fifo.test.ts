import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fifo } from '../src/fifo.ts';

test('whatever comes and goes, it is as a list', () => {
  const step = fc.oneof(
    fc.constant({ kind: 'push' as const }),
    fc.constant({ kind: 'shift' as const }),
    fc.nat(300).map((which) => ({ kind: 'remove' as const, which })),
    fc.constant({ kind: 'clear' as const }),
  );
  const steps = fc.array(
    fc.oneof({ weight: 40, arbitrary: step }, { weight: 1, arbitrary: fc.constant({ kind: 'clear' as const }) }),
    {
      maxLength: 600,
      size: 'max',
    },
  );
  fc.assert(
    fc.property(steps, (steps) => {
      const fifo = new Fifo<number>();
      let list: number[] = [];
      const tickets: number[] = [];
      for (const step of steps) {
        switch (step.kind) {
          case 'push':
            list.push(tickets.length);
            tickets.push(fifo.push(tickets.length));
            break;
          case 'shift':
            assert.equal(fifo.shift(), list.shift());
            break;
          case 'remove':
            if (step.which >= tickets.length) break;
            assert.equal(fifo.remove(tickets[step.which]!), list.includes(step.which));
            list = list.filter((each) => each !== step.which);
            break;
          case 'clear':
            fifo.clear();
            list = [];
        }
        assert.equal(fifo.size, list.length);
        assert.equal(fifo.first, list[0]);
        assert.deepEqual([...fifo], list);
      }
    }),
  );
});
