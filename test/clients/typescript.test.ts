// The TypeScript client against a real daemon: what its own tests assume of the daemon is true.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  type Aggregate,
  type Any,
  attach,
  type Client,
  type Command,
  connect,
  type EventPage,
  type Host,
  packJson,
  Rejected,
  Rejection,
  SequenceConflict,
  unpackJson,
  uuidv7,
} from '@daybook/client';
import { type Daemon, startDaemon } from '../../examples/shop/daemon.ts';

const folder = mkdtempSync(join(tmpdir(), 'daybook-test-'));
let daemon: Daemon;
let host: Host;
let client: Client;
/** The pages that the host was given, in all. */
let folded: number[] = [];

/** The signal of a decision that waits for nothing else. */
const waiting = Promise.withResolvers<AbortSignal>();

/**
 * Counts. `add 0` adds nothing, less than 0 is refused, a thousand fails, 7 and 8 call the daemon again, 9 waits until nobody waits
 * for it.
 */
const counters: Aggregate<{ total: number }> = {
  domain: 'counter',
  initial: () => ({ total: 0 }),
  evolve(state, event, page) {
    folded.push(page.sequence);
    return { total: state.total + amountOf(event) };
  },
  async decide(state, commands, context) {
    const [amount] = commands.map(amountOf);
    if (amount! < 0) throw new Rejection('NEGATIVE', 'expected 0 or more', { kind: 'invalid' });
    if (amount === 1000) throw new Error('too much for this handler');
    if (amount === 7) await context.client.execute({ domain: 'counter', root: context.root, payload: add(1) });
    if (amount === 9) {
      waiting.resolve(context.signal);
      await once(context.signal, 'abort');
      context.signal.throwIfAborted();
    }
    if (amount === 8) await context.client.execute({ domain: 'counter', root: uuidv7(), payload: add(1) });
    return amount === 0 ? [] : [packJson('Added', amount), packJson('Total', 0)].slice(0, state.total > 50 ? 2 : 1);
  },
};

before(async () => {
  daemon = await startDaemon(folder);
  host = attachCounters();
  await host.ready();
  client = connect({ address: daemon.address, retry: { attempts: 3, firstDelayMs: 5 } });
});

after(async () => {
  client.close();
  await host.close();
  await daemon.stop();
  rmSync(folder, { recursive: true });
});

test('commands are decided on what is stored, and only new events travel', async () => {
  const root = uuidv7();
  folded = [];
  for (const amount of [1, 2, 3]) {
    const { events, position } = await client.execute(adding(root, amount));
    assert.equal(events!.pages.at(-1)!.position, position);
  }
  const { pages, nextSequence } = await client.getEventBook({ domain: 'counter', root, select: { from: 0 } });
  assert.deepEqual(pages.map(amount), [1, 2, 3]);
  assert.equal(nextSequence, 3);
  assert.deepEqual(folded, [0, 1]);
});

test('a rejection, a conflict and a fault have their names', async () => {
  const root = uuidv7();
  await assert.rejects(client.execute(adding(root, -1)), (error) => {
    assert.ok(error instanceof Rejected);
    assert.deepEqual([error.rejectionCode, error.rejection.kind, error.code], ['NEGATIVE', 1, 3]);
    return true;
  });
  await client.execute({ ...adding(root, 1), sequence: 0 });
  await assert.rejects(client.execute({ ...adding(root, 1), sequence: 0 }), (error) => {
    assert.ok(error instanceof SequenceConflict);
    assert.deepEqual([error.expected, error.actual], [0, 1]);
    return true;
  });
  await assert.rejects(client.execute(adding(root, 1000)), { reason: 'COMPONENT_FAULT' });
  await assert.rejects(client.execute({ ...adding(root, 1), root: new Uint8Array(15) }), {
    reason: 'INVALID_ARGUMENT',
    metadata: { field: 'cover.root' },
  });
  await assert.rejects(client.execute({ ...adding(root, 1), domain: 'nobody' }), { reason: 'UNKNOWN_DOMAIN' });
});

test('the same key takes effect once', async () => {
  const command = { ...adding(uuidv7(), 1), idempotencyKey: `once ${Date.now()}` };
  const first = await client.execute(command);
  const again = await client.execute(command);
  assert.deepEqual([first.duplicate, again.duplicate], [false, true]);
  assert.equal(again.position, first.position);
  await assert.rejects(client.execute({ ...command, payload: add(2) }), { reason: 'INVALID_ARGUMENT' });
});

test('a pipeline keeps the order of an aggregate, and each command fails alone', async () => {
  const root = uuidv7();
  await using pipeline = client.pipeline();
  const sent = await Promise.allSettled([5, -1, 6, 0, 40, 3].map((amount) => pipeline.send(adding(root, amount))));
  assert.deepEqual(
    sent.map((each) => (each.status === 'fulfilled' ? each.value.events!.pages.length : each.reason.rejectionCode)),
    [1, 'NEGATIVE', 1, 0, 1, 2],
  );
});

test('streams begin with the own book and follow the correlation id', async () => {
  const correlationId = `talk ${Date.now()}`;
  const command = { ...adding(uuidv7(), 1), correlationId };
  const books = client.executeStreamCount(command, 3);
  assert.deepEqual((await books.next()).value!.pages.map(amount), [1]);
  await client.execute({ ...adding(uuidv7(), 2), correlationId });
  await client.execute(adding(uuidv7(), 99));
  await client.execute({ ...adding(uuidv7(), 3), correlationId });
  const later = [];
  for await (const book of books) later.push(...book.pages.map(amount));
  assert.deepEqual(later, [2, 3]);
  const timed = [];
  for await (const book of client.executeStreamTime({ ...command, payload: add(0) }, 50)) timed.push(book.pages.length);
  assert.equal(timed[0], 0);
});

test('the log is read from where one left off', async () => {
  const positions: number[] = [];
  let token = '';
  for await (const answer of client.readLog({ limit: 1 })) token = answer.token;
  for await (const { books } of client.readLog({ start: { afterToken: token } })) {
    for (const { pages } of books) positions.push(...pages.map((page) => page.position));
  }
  assert.deepEqual(
    positions,
    positions.map((_, i) => i + 2),
  );
});

test('work that nobody waits for is cancelled, and its aggregate goes on', async () => {
  const root = uuidv7();
  const controller = new AbortController();
  const call = client.execute(adding(root, 9), { signal: controller.signal });
  const work = await waiting.promise;
  controller.abort(new Error('enough'));
  await assert.rejects(call, { message: 'enough' });
  if (!work.aborted) await once(work, 'abort');
  assert.equal((await client.execute(adding(root, 1))).events!.pages.length, 1);
});

test('a handler may send commands, but not to its own root', async () => {
  await client.execute(adding(uuidv7(), 8));
  const began = Date.now();
  await assert.rejects(client.execute(adding(uuidv7(), 7)), {
    reason: 'COMPONENT_FAULT',
    message: /REENTRANT|own|wait/,
  });
  assert.ok(Date.now() - began < 5_000);
});

test('a host that comes anew gets the history once', async () => {
  const root = uuidv7();
  for (const amount of [1, 2, 3]) await client.execute(adding(root, amount));
  await host.close();
  await assert.rejects(client.execute(adding(root, 4)), { reason: 'COMPONENT_UNAVAILABLE' });
  host = attachCounters();
  await host.ready();
  folded = [];
  await client.execute(adding(root, 4));
  await client.execute(adding(root, 5));
  assert.deepEqual(folded, [0, 1, 2, 3]);
});

test('a history over the limit of a message arrives in chunks', async () => {
  const root = uuidv7();
  const text = 'x'.repeat(200_000);
  for (let n = 0; n < 25; n++) await client.execute({ ...adding(root, 1), payload: packJson('Add', { n, text }) });
  await host.close();
  host = attachCounters();
  await host.ready();
  folded = [];
  await client.execute(adding(root, 1));
  assert.deepEqual(folded, [...Array(25).keys()]);
});

test('a daemon that was killed is found again by client and host', async () => {
  const root = uuidv7();
  await client.execute(adding(root, 1));
  await daemon.kill();
  const patient = connect({ address: daemon.address, retry: { attempts: 50, firstDelayMs: 50, maxDelayMs: 200 } });
  const read = patient.getEventBook({ domain: 'counter', root });
  daemon = await startDaemon(folder, daemon.address);
  assert.deepEqual((await read).pages.map(amount), [1]);
  await host.ready();
  assert.equal((await patient.execute(adding(root, 2))).events!.pages[0]!.sequence, 1);
  patient.close();
});

function attachCounters(): Host {
  return attach({ address: daemon.address, name: 'counters', aggregates: [counters], onEvent: () => {} });
}

function adding(root: Uint8Array, amount: number): Command {
  return { domain: 'counter', root, payload: add(amount) };
}

function add(amount: number): Any {
  return packJson('Add', amount);
}

function amount(page: EventPage): number {
  return amountOf(page.event!);
}

function amountOf(payload: Any): number {
  return unpackJson(payload).value as number;
}
