import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { EventBook } from '../src/gen/daybook/v1/types.ts';
import { type Client, type Command, connect, Rejected, SequenceConflict } from '../src/index.ts';
import { add, root } from './support/counter.ts';
import { daybookError, FakeDaemon, responseTo } from './support/fake-daemon.ts';

let daemon: FakeDaemon;
let client: Client;
const command: Command = { domain: 'counter', root, payload: add(1) };

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  client = connect({ address: daemon.address, token: 'secret', retry: { attempts: 3, firstDelayMs: 1 } });
});

afterEach(() => {
  client.close();
  daemon.stop();
});

test('a command is sent with a cover, a key of its own and the token', async () => {
  daemon.execute = (book, metadata) => {
    assert.deepEqual(book.cover, { root: { value: root }, domain: 'counter', correlationId: 'c', tenant: 't' });
    assert.match(book.idempotencyKey, /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
    assert.deepEqual(
      book.pages.map((page) => page.sequence),
      [3, undefined],
    );
    assert.deepEqual(metadata.get('authorization'), ['Bearer secret']);
    return responseTo(book);
  };
  const twice = { ...command, payload: [add(1), add(2)], sequence: 3, correlationId: 'c', tenant: 't' };
  assert.equal((await client.execute(twice)).settled, true);
});

test('what may succeed later is repeated with the same key', async () => {
  const keys: string[] = [];
  daemon.execute = (book) => {
    keys.push(book.idempotencyKey);
    if (keys.length < 3) throw daybookError(8, 'OVERLOADED', { limit: 'commands' }, { retryDelayMs: 5 });
    return responseTo(book);
  };
  await client.execute(command);
  assert.equal(keys.length, 3);
  assert.equal(new Set(keys).size, 1);
});

test('attempts end, and the error tells reason, metadata, delay and key', async () => {
  let attempts = 0;
  daemon.execute = () => {
    attempts++;
    throw daybookError(8, 'OVERLOADED', { limit: 'commands' }, { retryDelayMs: 5 });
  };
  await assert.rejects(client.execute({ ...command, idempotencyKey: 'mine' }), {
    name: 'DaybookError',
    reason: 'OVERLOADED',
    metadata: { limit: 'commands' },
    retryDelayMs: 5,
    retryable: true,
    idempotencyKey: 'mine',
    message: 'about OVERLOADED',
  });
  assert.equal(attempts, 3);
});

test('a rejection is a Rejected, and is not repeated', async () => {
  let attempts = 0;
  const rejection = { kind: 2 as const, code: 'OUT_OF_STOCK', message: 'no', details: undefined, page: 0 };
  daemon.execute = () => {
    attempts++;
    throw daybookError(9, 'REJECTED', { code: 'OUT_OF_STOCK' }, { rejection });
  };
  await assert.rejects(client.execute(command), (error) => {
    assert.ok(error instanceof Rejected);
    assert.deepEqual(error.rejection, rejection);
    assert.equal(error.rejectionCode, 'OUT_OF_STOCK');
    return true;
  });
  assert.equal(attempts, 1);
});

test('a stale sequence is a SequenceConflict with both numbers', async () => {
  daemon.execute = () => {
    throw daybookError(9, 'SEQUENCE_CONFLICT', { expected: '3', actual: '5' });
  };
  await assert.rejects(client.execute({ ...command, sequence: 3 }), (error) => {
    assert.ok(error instanceof SequenceConflict);
    assert.deepEqual([error.expected, error.actual], [3, 5]);
    return true;
  });
});

test('a daemon that is away is waited for', async () => {
  client = connect({ address: daemon.address, retry: { attempts: 50, firstDelayMs: 20, maxDelayMs: 50 } });
  daemon.stop();
  const answered = client.execute(command);
  daemon.execute = (book) => responseTo(book);
  await daemon.restart();
  assert.equal((await answered).settled, true);
});

test('the deadline covers the repeats: none begins that could not be in time', async () => {
  let calls = 0;
  daemon.execute = () => {
    calls++;
    throw daybookError(14, 'STORE_UNAVAILABLE');
  };
  // The pause alone is longer than what is left: the error is told at once, as it was.
  client = connect({
    address: daemon.address,
    retry: { attempts: 1_000_000, firstDelayMs: 60_000, maxDelayMs: 60_000 },
  });
  await assert.rejects(client.execute(command, { timeoutMs: 10_000 }), { reason: 'STORE_UNAVAILABLE' });
  assert.equal(calls, 1);
  daemon.execute = () => new Promise(() => {});
  await assert.rejects(client.execute(command, { timeoutMs: 50 }), { reason: 'DEADLINE_EXCEEDED' });
});

test('an AbortSignal ends a call with its reason', async () => {
  daemon.execute = () => new Promise(() => {});
  const controller = new AbortController();
  const call = client.execute(command, { signal: controller.signal });
  controller.abort(new Error('enough'));
  await assert.rejects(call, { message: 'enough' });
});

test('a stream yields books until the loop is left, which cancels it', async () => {
  const cancelled = Promise.withResolvers<void>();
  daemon.executeStream = (call) => {
    call.on('cancelled', () => cancelled.resolve());
    for (let n = 1; n <= 3; n++) call.write(EventBook.fromPartial({ nextSequence: n }));
  };
  const seen: number[] = [];
  for await (const book of client.executeStream(command)) {
    seen.push(book.nextSequence);
    if (seen.length === 2) break;
  }
  assert.deepEqual(seen, [1, 2]);
  await cancelled.promise;
});

test('a stream is repeated only before its first book', async () => {
  let attempts = 0;
  daemon.executeStream = (call) => {
    attempts++;
    if (attempts === 2) call.write(EventBook.fromPartial({ nextSequence: 1 }));
    call.emit('error', daybookError(14, 'SHUTTING_DOWN'));
  };
  const seen: number[] = [];
  await assert.rejects(
    async () => {
      for await (const book of client.executeStream(command)) seen.push(book.nextSequence);
    },
    { reason: 'SHUTTING_DOWN' },
  );
  assert.deepEqual([attempts, seen], [2, [1]]);
});

test('an error of the transport has a name too', async () => {
  daemon.getEventBook = () => {
    throw Object.assign(new Error('what'), { code: 13, details: 'what' });
  };
  await assert.rejects(client.getEventBook({ domain: 'counter', root }), { reason: 'TRANSPORT', code: 13 });
  client.close();
  await assert.rejects(client.getEventBook({ domain: 'counter', root }), { reason: 'CLOSED' });
});

test('an aborted stream throws the reason', async () => {
  daemon.executeStream = (call) => void call.write(EventBook.fromPartial({ nextSequence: 1 }));
  const controller = new AbortController();
  const books = client.executeStream(command, { signal: controller.signal });
  assert.equal((await books.next()).value?.nextSequence, 1);
  const next = books.next();
  controller.abort(new Error('enough'));
  await assert.rejects(next, { message: 'enough' });
});
