// The simulation's own aggregates: accounts and the journals that a saga writes of them; orders, stock and payments. An event says at which
// sequence it was decided and what followed from it, so that anybody can tell later whether the decision was made on the true history.

import type { Data, Said } from './payloads.ts';

export interface State {
  next: number;
  balance: number;
  closed: boolean;
  status: string;
}

export const EMPTY: State = { next: 0, balance: 0, closed: false, status: '' };

export type Decided = { events: Said[] } | { code: string };

interface Domain {
  decide(state: State, type: string, data: Data): Decided;
}

function amountOf(data: Data): number {
  return Number(data.amount ?? 0);
}

/** One event further. */
export function apply(state: State, { type, data }: Said): State {
  const next = state.next + 1;
  const amount = amountOf(data);
  switch (type) {
    case 'Deposited':
    case 'Recorded':
    case 'Credited':
    case 'Refunded':
    case 'Supplied':
      return { ...state, next, balance: state.balance + amount };
    case 'Withdrawn':
    case 'Started':
    case 'Reserved':
      return { ...state, next, balance: state.balance - amount };
    case 'Closed':
      return { ...state, next, closed: true };
    case 'Placed':
    case 'Confirmed':
    case 'Cancelled':
      return { ...state, next, status: type };
    default:
      return { ...state, next };
  }
}

function one(state: State, type: string, data: Data): Decided {
  const { balance } = apply(state, { type, data });
  return { events: [{ type, data: { ...data, at: state.next, balance } }] };
}

const account: Domain = {
  decide(state, type, data) {
    switch (type) {
      case 'Deposit':
        return state.closed ? { code: 'CLOSED' } : one(state, 'Deposited', data);
      case 'Withdraw':
        return amountOf(data) > state.balance ? { code: 'INSUFFICIENT' } : one(state, 'Withdrawn', data);
      case 'Transfer':
        return amountOf(data) > state.balance ? { code: 'INSUFFICIENT' } : one(state, 'Started', data);
      case 'Credit':
        return state.closed ? { code: 'CLOSED' } : one(state, 'Credited', data);
      case 'Refused':
        return one(state, 'Refunded', data);
      case 'Close':
        return state.closed ? { code: 'CLOSED' } : one(state, 'Closed', data);
      default:
        return { events: [] };
    }
  },
};

const journal: Domain = {
  decide: (state, _, data) => one(state, 'Noted', data),
};

const order: Domain = {
  decide(state, type, data) {
    switch (type) {
      case 'Place':
        return state.status === '' ? one(state, 'Placed', data) : { code: 'PLACED' };
      case 'Confirm':
        return state.status === 'Placed' ? one(state, 'Confirmed', data) : { code: 'OVER' };
      default:
        return state.status === 'Placed' ? one(state, 'Cancelled', data) : { code: 'OVER' };
    }
  },
};

const stock: Domain = {
  decide(state, type, data) {
    if (type === 'Supply') return one(state, 'Supplied', data);
    return amountOf(data) > state.balance ? { code: 'OUT_OF_STOCK' } : one(state, 'Reserved', data);
  },
};

const payment: Domain = {
  decide: (state, _, data) => one(state, 'Paid', data),
};

export const DOMAINS: Readonly<Record<string, Domain>> = { account, journal, order, stock, payment };

/** Whose commands a client sends. */
export function domainOf(type: string): string {
  if (type === 'Place') return 'order';
  if (type === 'Supply') return 'stock';
  return type === 'Pay' ? 'payment' : 'account';
}
