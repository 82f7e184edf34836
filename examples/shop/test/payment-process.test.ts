import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Any, pack, rootOf, type Trigger } from '@daybook/client';
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
} from '../gen/shop/v1/shop.ts';
import { type PaymentProcess, paymentProcess } from '../payment-process.ts';
import { notification } from './support.ts';

const process = paymentProcess({ deadlineMs: 1_000 });
const order = rootOf('A-1');
const orderNo = 'A-1';
const confirmed = pack(OrderConfirmed, { totalPence: 4900, lines: [], orderNo });
const cancelled = pack(OrderCancelled, { reason: 'x', lines: [], orderNo });
const received = pack(PaymentReceived, { reference: 'bank 7', amountPence: 4900 });
const started = pack(PaymentProcessStarted, { order, orderNo, amountPence: 4900 });
const timer: Trigger = { kind: 'timer', name: 'deadline', due: new Date(), payload: undefined };

const begun: PaymentProcess = process.evolve(process.initial(), started, {} as never);

const callOff = {
  commands: [{ domain: 'payment', root: order, payload: pack(CancelPayment, {}) }],
  cancelTimers: ['deadline'],
};

function handle(state: PaymentProcess, trigger: Trigger | Any) {
  const event = (payload: Any): Trigger => ({
    kind: 'event',
    event: payload,
    page: {} as never,
    domain: 'order',
    root: order,
  });
  return process.handle(state, 'kind' in trigger ? trigger : event(trigger), {} as never);
}

test('a confirmed order asks for its payment and sets the timer', () => {
  assert.deepEqual(handle(process.initial(), confirmed), {
    events: [started],
    commands: [{ domain: 'payment', root: order, payload: pack(RequestPayment, { orderNo, amountPence: 4900 }) }],
    timers: [{ name: 'deadline', afterMs: 1_000 }],
  });
  assert.equal(handle(begun, confirmed), undefined);
});

test('customers have 15 minutes unless told otherwise', () => {
  const patient = paymentProcess();
  const trigger: Trigger = { kind: 'event', event: confirmed, page: {} as never, domain: 'order', root: order };
  const step = patient.handle(patient.initial(), trigger, {} as never);
  assert.ok(step && !(step instanceof Promise));
  assert.deepEqual(step.timers, [{ name: 'deadline', afterMs: 900_000 }]);
});

test('a payment marks the order paid and ends the process', () => {
  assert.deepEqual(handle(begun, received), {
    commands: [{ domain: 'order', root: order, payload: pack(MarkPaid, {}) }],
    cancelTimers: ['deadline'],
    ended: true,
  });
});

test('the timer calls the order off, and the process waits on: a payment may be on its way', () => {
  assert.deepEqual(handle(begun, timer), {
    commands: [{ domain: 'order', root: order, payload: pack(ExpireOrder, {}) }],
  });
});

test('a cancelled order takes no payment; when that is settled, the process ends', () => {
  assert.deepEqual(handle(begun, cancelled), callOff);
  assert.deepEqual(handle(begun, pack(PaymentCancelled, {})), { ended: true });
});

test('a refused ExpireOrder does not leave the process hanging', () => {
  const refused: Trigger = { kind: 'rejection', notification: notification('ALREADY_PAID', 'it was paid in time') };
  assert.deepEqual(handle(begun, refused), callOff);
});

test('an order that is cancelled before it is confirmed has no process', () => {
  for (const trigger of [cancelled, received, timer]) assert.equal(handle(process.initial(), trigger), undefined);
});
