import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DaybookError } from '../../src/errors.ts';
import { type CommandBook, type EventBook, NO_ORIGIN, pageBytes, type Snapshot } from '../../src/model/book.ts';
import { checkRejection, type Stamp, stampDecision } from '../../src/model/decision.ts';
import { any, command, eventBook } from '../support/books.ts';

const LIMITS = { payloadBytes: 1024, eventsPerReply: 3, eventBytesPerReply: 4096, messageBytes: 4096 };
const root = new Uint8Array(16).fill(0xab);
const stream = { tenant: 'acme', domain: 'account', root };
const createdAt = { seconds: 5, nanos: 7 };
const unitId = new Uint8Array(16).fill(1);

function stampOf(change: Partial<CommandBook> = {}, nextSequence = 4): Stamp {
  return { stream, command: { ...command(root, any('Deposit', '1')), ...change }, nextSequence, createdAt, unitId };
}

function reply(change: Partial<EventBook> = {}, texts = ['1']): EventBook {
  return { ...eventBook(texts.map((text) => any('Deposited', text))), ...change };
}

function fault(check: () => unknown): string {
  try {
    check();
  } catch (error) {
    assert(error instanceof DaybookError, String(error));
    assert.equal(error.reason, 'COMPONENT_FAULT');
    assert.deepEqual(error.metadata, { component: 'account' });
    assert(error.message.startsWith(`acme/account/`), error.message);
    return error.message;
  }
  throw new Error('nothing was wrong with it');
}

const faultOf = (book: EventBook, stamp = stampOf()) => fault(() => stampDecision(book, stamp, LIMITS));

describe('what a component decided', () => {
  test('gets sequences, time, unit and origin from us, whatever it says of them', () => {
    const book = reply({}, ['1', '2', '3']);
    for (const page of book.pages) {
      Object.assign(page, {
        sequence: 77,
        position: 9,
        occurredAt: { seconds: 1, nanos: 0 },
        unitId: new Uint8Array(3),
      });
      Object.assign(page, { createdAt: { seconds: 1, nanos: 1 }, origin: { ...NO_ORIGIN, component: 'forged' } });
    }
    const { pages, snapshot } = stampDecision(book, stampOf(), LIMITS);
    assert.equal(snapshot, undefined);
    const stamped = { createdAt, unitId, position: 0, occurredAt: undefined, metadata: {} };
    const origin = { ...NO_ORIGIN, commands: ['account.Deposit'] };
    assert.deepEqual(
      pages,
      book.pages.map(({ event }, i) => ({ ...stamped, origin, event, sequence: 4 + i })),
    );
  });

  test('may be nothing', () => {
    assert.deepEqual(stampDecision(reply({}, []), stampOf(), LIMITS), { pages: [], snapshot: undefined });
  });

  test('comes from what caused the command, and from each of its pages', () => {
    const origin = { ...NO_ORIGIN, component: 'fulfilment', depth: 3 };
    const caused = stampDecision(reply(), stampOf({ origin }), LIMITS);
    assert.deepEqual(caused.pages[0]!.origin, { ...origin, commands: ['account.Deposit'] });
    const two = stampOf(command(root, [any('Deposit'), any('Withdraw')]));
    assert.deepEqual(stampDecision(reply(), two, LIMITS).pages[0]!.origin!.commands, [
      'account.Deposit',
      'account.Withdraw',
    ]);
    // Of many kinds of commands, each keeps its own.
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 1100; i++) {
        const { pages } = stampDecision(reply(), stampOf(command(root, any(`Kind${i}`))), LIMITS);
        assert.deepEqual(pages[0]!.origin, { ...NO_ORIGIN, commands: [`account.Kind${i}`] });
      }
    }
  });

  test('has the metadata of the command, and its own where both say something', () => {
    const metadataOf = (own: Record<string, string>, ofCommand: Record<string, string>) => {
      const book = reply();
      book.pages[0]!.metadata = own;
      return stampDecision(book, stampOf({ metadata: ofCommand }), LIMITS).pages[0]!.metadata;
    };
    assert.deepEqual(metadataOf({}, {}), {});
    assert.deepEqual(metadataOf({ a: '1' }, {}), { a: '1' });
    assert.deepEqual(metadataOf({}, { b: '2' }), { b: '2' });
    assert.deepEqual(metadataOf({ a: '1' }, { a: '0', b: '2' }), { a: '1', b: '2' });
  });

  test('names this aggregate or none', () => {
    const own = { root: { value: root }, domain: 'account', correlationId: 'any', tenant: 'acme' };
    const partly = { root: undefined, domain: '', correlationId: '', tenant: '' };
    for (const cover of [undefined, own, partly, { ...partly, domain: 'account' }, { ...partly, root: own.root }]) {
      assert.equal(stampDecision(reply({ cover }), stampOf(), LIMITS).pages.length, 1);
    }
    const another = { value: new Uint8Array(16).fill(0xcd) };
    for (const cover of [
      { ...own, root: another },
      { ...own, domain: 'order' },
      { ...own, tenant: 'other' },
      { ...partly, domain: 'order' },
    ]) {
      assert.match(faultOf(reply({ cover })), /the reply is for another aggregate, (acme|other)?\/(account|order)\//);
    }
    assert.match(faultOf(reply({ cover: { ...own, root: another } })), /another aggregate, acme\/account\/cdcdcdcd/);
  });

  test('has no more events and bytes than allowed', () => {
    assert.match(faultOf(reply({}, ['1', '2', '3', '4'])), /expected at most 3 events in one reply, found 4/);
    const book = reply({}, ['x'.repeat(900), 'x'.repeat(900), 'x'.repeat(900)]);
    const { pages } = stampDecision(book, stampOf(), LIMITS);
    const bytes = pages.reduce((sum, page) => sum + pageBytes(page), 0);
    const exactly = { ...LIMITS, eventBytesPerReply: bytes };
    assert.equal(stampDecision(book, stampOf(), exactly).pages.length, 3);
    const sentence = new RegExp(`expected at most ${bytes - 1} bytes of events in one reply, found ${bytes}`);
    assert.match(
      fault(() => stampDecision(book, stampOf(), { ...exactly, eventBytesPerReply: bytes - 1 })),
      sentence,
    );
  });

  test('is said to be at fault by page and field', () => {
    const second = reply({}, ['1', '2']);
    second.pages[1]!.event = undefined;
    assert.match(faultOf(second), /: pages\[1\]\.event: expected a payload, found none/);
    assert.match(
      faultOf(reply({}, ['x'.repeat(1025)])),
      /: pages\[0\]\.event: expected at most 1024 bytes, found 1025/,
    );
    const metadata = reply();
    metadata.pages[0]!.metadata = { a: '\0' };
    assert.match(faultOf(metadata), /: pages\[0\]\.metadata: a NUL character/);
  });
});

describe('a snapshot', () => {
  const snapshot = (change: Partial<Snapshot> = {}): Snapshot => ({
    sequence: 0,
    state: any('State', '10'),
    retention: 1,
    schemaVersion: 2,
    ...change,
  });

  test('includes the last event of its reply', () => {
    const texts = ['1', '2'];
    const expected = snapshot({ sequence: 5 });
    for (const sequence of [0, 5]) {
      const book = reply({ snapshot: snapshot({ sequence }) }, texts);
      assert.deepEqual(stampDecision(book, stampOf(), LIMITS).snapshot, expected);
    }
    for (const sequence of [4, 6]) {
      const book = reply({ snapshot: snapshot({ sequence }) }, texts);
      const sentence = new RegExp(`must include sequence 5, the last of its reply, not ${sequence}`);
      assert.match(faultOf(book), sentence);
    }
  });

  test('may come without events, but not before there are any', () => {
    const book = reply({ snapshot: snapshot() }, []);
    assert.equal(stampDecision(book, stampOf({}, 1), LIMITS).snapshot!.sequence, 0);
    assert.match(faultOf(book, stampOf({}, 0)), /a snapshot of an aggregate without events/);
  });

  test('fits into half a message, beside what follows it', () => {
    const fits = snapshot({ state: any('State', 'x'.repeat(2048)) });
    assert.equal(stampDecision(reply({ snapshot: fits }), stampOf(), LIMITS).snapshot!.sequence, 4);
    const large = snapshot({ state: any('State', 'x'.repeat(2049)) });
    assert.match(faultOf(reply({ snapshot: large })), /: snapshot\.state: expected at most 2048 bytes, found 2049/);
  });
});

describe('a rejection', () => {
  const rejection = { kind: 2, code: 'c', message: 'm', details: undefined, page: 0 } as const;
  const check = (change: object) => checkRejection({ ...rejection, ...change }, stream, LIMITS);

  test('has a code of 128, a message of 4096 characters and details that fit', () => {
    check({});
    check({ code: 'c'.repeat(128), message: 'm'.repeat(4096), details: any('Details', 'x'.repeat(1024)) });
    const limits = /a rejection has a code of at most 128 and a message of at most 4096 characters/;
    assert.match(
      fault(() => check({ code: 'c'.repeat(129) })),
      limits,
    );
    assert.match(
      fault(() => check({ message: 'm'.repeat(4097) })),
      limits,
    );
    assert.match(
      fault(() => check({ details: any('Details', 'x'.repeat(1025)) })),
      /: rejection\.details: expected at most 1024 bytes/,
    );
  });

  test('holds no NUL', () => {
    for (const change of [{ code: 'a\0' }, { message: '\0b' }]) {
      assert.match(
        fault(() => check(change)),
        /a rejection may not hold a NUL character/,
      );
    }
  });
});
