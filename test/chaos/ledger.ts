// The domain of the chaos runs. A command is pages of amounts; each event carries the command's number, its place among the
// command's events and the balance that was decided on, so that whoever reads the log alone can tell whether it is right.

import { type Aggregate, type Any, Rejection } from '@daybook/client';

export const DOMAIN = 'ledger';

/** What a command's page asks for. 0 changes nothing and becomes no event. */
export interface Wish {
  command: number;
  amount: number;
}

/** What an event says. */
export interface Entry {
  command: number;
  /** The n-th event of the command, from 0, and how many there are. */
  part: number;
  parts: number;
  amount: number;
  /** After this event. */
  balance: number;
}

export function payload(type: string, content: Wish | Entry | { balance: number }): Any {
  return { typeUrl: `type.test/chaos.${type}`, value: Buffer.from(JSON.stringify(content)) };
}

function contentOf<T>(any: Any): T {
  return JSON.parse(Buffer.from(any.value).toString()) as T;
}

/** Rejects what would make the balance negative, and says what it was: a repeat must tell the same, whatever it is by then. */
export function ledger(keepsState: boolean): Aggregate<{ balance: number }> {
  return {
    domain: DOMAIN,
    keepsState,
    initial: () => ({ balance: 0 }),
    evolve: (state, event) => ({ balance: state.balance + contentOf<Entry>(event).amount }),
    decide(state, commands) {
      const wishes = commands.map((command) => contentOf<Wish>(command)).filter(({ amount }) => amount !== 0);
      let balance = state.balance;
      return wishes.map(({ command, amount }, part) => {
        balance += amount;
        if (balance < 0) throw new Rejection('INSUFFICIENT', `${state.balance} does not cover it`, { page: part });
        return payload('Entry', { command, part, parts: wishes.length, amount, balance });
      });
    },
    snapshot: { version: 1, encode: (state) => payload('State', state), decode: (state) => contentOf(state) },
  };
}
