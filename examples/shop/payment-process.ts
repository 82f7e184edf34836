// The process manager that sees to the money: asks for it, waits, and calls the order off when it does not come.
//
// There is one process for each correlation id, so everything about an order has to carry the order's number as that.
//
//   OrderConfirmed    ask for the payment, set the timer
//   timer             ExpireOrder; go on waiting
//   OrderCancelled    CancelPayment; go on waiting
//   PaymentReceived   MarkPaid; ended
//   PaymentCancelled  ended
//
// Why it waits on after the timer and after OrderCancelled: a payment may be on its way at that very moment. It ends only when the payment
// itself has been settled, one way or the other. So every payment that was received reaches the order, which is then paid, or owes it back.

import { type Any, type ProcessManager, type ProcessStep, pack, type Trigger, typeName, unpack } from '@daybook/client';
import {
  CancelPayment,
  ExpireOrder,
  MarkPaid,
  OrderCancelled,
  OrderConfirmed,
  PaymentCancelled,
  PaymentProcessStarted,
  PaymentReceived,
  RequestPayment,
} from './gen/shop/v1/shop.ts';

export interface PaymentProcess {
  /** The root of the order and of its payment, once there is something to pay. */
  readonly order: Uint8Array | undefined;
}

const DEADLINE = 'deadline';
const FIFTEEN_MINUTES_MS = 15 * 60_000;

export function paymentProcess(options: { deadlineMs?: number } = {}): ProcessManager<PaymentProcess> {
  const deadlineMs = options.deadlineMs ?? FIFTEEN_MINUTES_MS;
  return {
    name: 'payment',
    domain: 'payment-process',
    domains: ['order', 'payment'],
    types: [OrderConfirmed, OrderCancelled, PaymentReceived, PaymentCancelled].map((type) => type.$type),
    initial: () => ({ order: undefined }),
    evolve: (_process, event) => ({ order: unpack(PaymentProcessStarted, event).order }),
    handle: (process, trigger) => handle(process, trigger, deadlineMs),
  };
}

export function handle({ order }: PaymentProcess, trigger: Trigger, deadlineMs: number): ProcessStep | undefined {
  if (order === undefined) return begin(trigger, deadlineMs);
  switch (trigger.kind) {
    case 'timer':
      return { commands: [toOrder(order, pack(ExpireOrder, {}))] };
    // The order was paid without this process, and does not expire: no second payment, please.
    case 'rejection':
      return callOff(order);
    case 'event':
      return goOn(order, trigger.event);
  }
}

/** An order that is cancelled before it is confirmed has nothing to pay: there is no process. */
function begin(trigger: Trigger, deadlineMs: number): ProcessStep | undefined {
  if (trigger.kind !== 'event' || typeName(trigger.event) !== OrderConfirmed.$type) return undefined;
  const { orderNo, totalPence: amountPence } = unpack(OrderConfirmed, trigger.event);
  const order = trigger.root;
  return {
    events: [pack(PaymentProcessStarted, { order, orderNo, amountPence })],
    commands: [toPayment(order, pack(RequestPayment, { orderNo, amountPence }))],
    timers: [{ name: DEADLINE, afterMs: deadlineMs }],
  };
}

function goOn(order: Uint8Array, event: Any): ProcessStep | undefined {
  switch (typeName(event)) {
    case PaymentReceived.$type:
      return { commands: [toOrder(order, pack(MarkPaid, {}))], cancelTimers: [DEADLINE], ended: true };
    case PaymentCancelled.$type:
      return { ended: true };
    case OrderCancelled.$type:
      return callOff(order);
    default:
      return undefined;
  }
}

function callOff(order: Uint8Array): ProcessStep {
  return { commands: [toPayment(order, pack(CancelPayment, {}))], cancelTimers: [DEADLINE] };
}

function toOrder(root: Uint8Array, payload: Any) {
  return { domain: 'order', root, payload };
}

function toPayment(root: Uint8Array, payload: Any) {
  return { domain: 'payment', root, payload };
}
