import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Any, pack } from '@daybook/client';
import {
  CancelPayment,
  PaymentCancelled,
  PaymentReceived,
  PaymentRequested,
  ReceivePayment,
  RequestPayment,
} from '../gen/shop/v1/shop.ts';
import { decide, evolve, type Payment, payments } from '../payment.ts';
import { refuses } from './support.ts';

const request = pack(RequestPayment, { orderNo: 'A-1', amountPence: 4900 });
const requested = pack(PaymentRequested, { orderNo: 'A-1', amountPence: 4900 });
const receive = pack(ReceivePayment, { reference: 'bank 7' });
const received = pack(PaymentReceived, { reference: 'bank 7', amountPence: 4900 });
const cancel = pack(CancelPayment, {});
const cancelled = pack(PaymentCancelled, {});

function after(...events: Any[]): Payment {
  return events.reduce(evolve, payments.initial());
}

test('a payment is requested once', () => {
  assert.deepEqual(decide(after(), request), [requested]);
  assert.deepEqual(decide(after(requested), request), []);
  assert.deepEqual(decide(after(cancelled), request), []);
});

test('it is received once, if somebody asked for it', () => {
  assert.deepEqual(decide(after(requested), receive), [received]);
  assert.deepEqual(decide(after(requested, received), receive), []);
  refuses(() => decide(after(), receive), 'NOTHING_TO_PAY', 'not-found');
});

test('a cancelled payment takes no money; a received one cannot be cancelled any more', () => {
  assert.deepEqual(decide(after(requested), cancel), [cancelled]);
  assert.deepEqual(decide(after(requested, cancelled), cancel), []);
  refuses(() => decide(after(requested, cancelled), receive), 'PAYMENT_CANCELLED');
  assert.deepEqual(decide(after(requested, received), cancel), []);
});

test('what it cannot read is a fault, not a decision', () => {
  assert.throws(() => decide(after(), requested), /expected a command to a payment/);
  assert.throws(() => evolve(after(), request), /expected an event of a payment/);
});
