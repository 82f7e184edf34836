// The payment of one order. It has the root of the order, in a domain of its own.

import { type Aggregate, type Any, oneByOne, pack, Rejection, typeName, unpack } from '@daybook/client';
import {
  CancelPayment,
  PaymentCancelled,
  PaymentReceived,
  PaymentRequested,
  ReceivePayment,
  RequestPayment,
} from './gen/shop/v1/shop.ts';

export interface Payment {
  readonly status: 'absent' | 'requested' | 'received' | 'cancelled';
  readonly amountPence: number;
}

const NO_PAYMENT: Payment = { status: 'absent', amountPence: 0 };

export function evolve(payment: Payment, event: Any): Payment {
  switch (typeName(event)) {
    case PaymentRequested.$type:
      return { status: 'requested', amountPence: unpack(PaymentRequested, event).amountPence };
    case PaymentReceived.$type:
      return { ...payment, status: 'received' };
    case PaymentCancelled.$type:
      return { ...payment, status: 'cancelled' };
    default:
      throw new Error(`expected an event of a payment, found ${typeName(event)}`);
  }
}

export function decide(payment: Payment, command: Any): Any[] {
  switch (typeName(command)) {
    case RequestPayment.$type: {
      if (payment.status !== 'absent') return [];
      return [pack(PaymentRequested, unpack(RequestPayment, command))];
    }
    case ReceivePayment.$type:
      return receive(payment, unpack(ReceivePayment, command));
    case CancelPayment.$type:
      return cancel(payment);
    default:
      throw new Error(`expected a command to a payment, found ${typeName(command)}`);
  }
}

function receive({ status, amountPence }: Payment, { reference }: ReceivePayment): Any[] {
  if (status === 'absent')
    throw new Rejection('NOTHING_TO_PAY', 'nobody asked for this payment', { kind: 'not-found' });
  if (status === 'cancelled') throw new Rejection('PAYMENT_CANCELLED', 'the order is off: send the money back');
  // Banks tell everything twice.
  if (status === 'received') return [];
  return [pack(PaymentReceived, { reference, amountPence })];
}

/** Once the money is there, it is there: what to do with it is for those to say who hear PaymentReceived. */
function cancel({ status }: Payment): Any[] {
  return status === 'absent' || status === 'requested' ? [pack(PaymentCancelled, {})] : [];
}

export const payments: Aggregate<Payment> = {
  domain: 'payment',
  initial: () => NO_PAYMENT,
  evolve,
  decide: oneByOne(evolve, decide),
};
