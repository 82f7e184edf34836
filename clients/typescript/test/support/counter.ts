// The smallest aggregate that shows what a host does: it counts.

import { type Aggregate, type Any, packJson, Rejection, unpackJson } from '../../src/index.ts';

export interface Counter {
  total: number;
}

export const root = new Uint8Array(16).fill(7);

export const added = (amount: number): Any => packJson('Added', amount);
export const add = (amount: number): Any => packJson('Add', amount);

/** Tells in its event what the state was: `[total before, amount]`. */
export function counter(changes: Partial<Aggregate<Counter>> = {}): Aggregate<Counter> {
  return {
    domain: 'counter',
    initial: () => ({ total: 0 }),
    evolve(state, event) {
      // In place, on purpose: a library that folds anything twice, or what was never stored, is found out.
      state.total += amountOf(event);
      return state;
    },
    decide(state, commands) {
      const amount = amountOf(commands[0]!);
      if (amount < 0) throw new Rejection('NEGATIVE', 'expected an amount above 0', { kind: 'invalid' });
      if (amount === 13) throw new Error('the handler does not like 13');
      return [packJson('Decided', [state.total, amount])];
    },
    ...changes,
  };
}

export function amountOf(payload: Any): number {
  return unpackJson(payload).value as number;
}
