import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bodies } from '../../src/components/bodies.ts';
import { ProcessEnded } from '../../src/gen/daybook/v1/component.ts';
import type { RejectionNotification } from '../../src/model/reaction.ts';
import { any, command, eventBook, newRoot } from '../support/books.ts';

/** Bytes compare alike, whatever holds them. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, plain(part)]));
}

test('bodies come back as they were', () => {
  const book = command(newRoot(), any('Deposit', '1'), { key: 'k' });
  assert.deepEqual(plain(bodies.decodeCommand(bodies.encodeCommand(book))), plain(book));
  const events = eventBook([any('Deposited', '1'), any('Deposited', '')]);
  assert.deepEqual(plain(bodies.decodeEvents(bodies.encodeEvents(events))), plain(events));
  for (const payload of [any('Deposited', '1'), any('Deposited', ''), undefined]) {
    assert.deepEqual(plain(bodies.decodeAny(bodies.encodeAny(payload))), plain(payload));
  }
  assert.equal(bodies.encodeAny(undefined).length, 0);
});

test('a notification is a payload with its type, and nothing else is unpacked as one', () => {
  const notification: RejectionNotification = {
    command: command(newRoot(), any('Deposit', '1')),
    rejection: { kind: 2, code: 'CLOSED', message: 'no', details: undefined, page: 0 },
    component: 'fulfilment',
    source: undefined,
    sourceSequence: 3,
    sourcePosition: 2 ** 40,
  };
  const packed = bodies.packNotification(notification);
  assert.equal(packed.typeUrl, 'type.googleapis.com/daybook.v1.RejectionNotification');
  assert.deepEqual(plain(bodies.unpackNotification(packed)), plain(notification));
  assert.throws(
    () => bodies.unpackNotification(any('Deposited', '1')),
    /expected a daybook\.v1\.RejectionNotification/,
  );
});

test('the end of a process is an event of its own type', () => {
  assert.equal(bodies.PROCESS_ENDED.typeUrl, 'type.googleapis.com/daybook.v1.ProcessEnded');
  assert.deepEqual(ProcessEnded.decode(bodies.PROCESS_ENDED.value), {});
});
