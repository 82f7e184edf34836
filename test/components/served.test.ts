import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import type { BusinessResponse, ContextualCommand } from '../../src/gen/daybook/v1/component.ts';
import type { CommandResponse } from '../../src/model/book.ts';
import { any, command, eventBook, newRoot, textOf } from '../support/books.ts';
import { detailsOf, type TestClient, type TestDaemon, testDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { failsWith } from '../support/failures.ts';
import { cancelled, decide, refusal, ServedAccount } from '../support/served-account.ts';

interface Opened extends AsyncDisposable {
  component: ServedAccount;
  daemon: TestDaemon;
  client: TestClient;
}

/** A component, and a daemon that calls it. */
async function open(env: Record<string, string> = {}, snapshotVersion = 0): Promise<Opened> {
  const component = new ServedAccount();
  await component.start();
  const entry = { aggregate: 'account', address: component.address, snapshot_schema_version: snapshotVersion };
  const daemon = await testDaemon({ env: { DAYBOOK__COMPONENTS: JSON.stringify([entry]), ...env } }).catch((error) => {
    component.stop();
    throw error;
  });
  return {
    component,
    daemon,
    client: daemon.client(),
    async [Symbol.asyncDispose]() {
      // First, so that nothing is in hand there that the daemon would wait for.
      component.stop();
      await daemon[Symbol.asyncDispose]();
    },
  };
}

function deposit(client: TestClient, root: Uint8Array, amount: string): Promise<CommandResponse> {
  return client.unary('gateway.execute', command(root, any('Deposit', amount)));
}

function amounts({ events }: ContextualCommand): string[] {
  return events!.pages.map((page) => textOf(page.event));
}

async function readiness({ daemon }: Opened): Promise<{ status: number; account: string }> {
  const response = await fetch(`http://${daemon.daemon.addresses.health}/readyz`);
  const { parts } = (await response.json()) as { parts: Record<string, string> };
  return { status: response.status, account: parts['component account']! };
}

test('the whole history comes with each command, from a warm cache and without any', async () => {
  for (const bytes of ['67108864', '0']) {
    await using opened = await open({ DAYBOOK__LIMITS__HOT_CACHE_BYTES: bytes });
    const { component, client } = opened;
    const root = newRoot();
    for (const amount of ['1', '2', '3']) await deposit(client, root, amount);
    assert.deepEqual(component.requests.map(amounts), [[], ['1'], ['1', '2']]);
    const { events, command: asked, baseSequence, workId } = component.requests[2]!;
    assert.deepEqual(
      events!.pages.map(({ sequence, position }) => `${sequence} at ${position}`),
      ['0 at 1', '1 at 2'],
    );
    assert.deepEqual([events!.nextSequence, baseSequence], [2, 0]);
    assert.deepEqual(Buffer.from(events!.cover!.root!.value), Buffer.from(root));
    assert.match(asked!.cover!.correlationId, /./);
    assert.match(workId, /./);
  }
});

test('a snapshot of the configured version comes instead of what it includes, one of another version does not', async () => {
  await using opened = await open({ DAYBOOK__LIMITS__SNAPSHOT_AFTER_PAGES: '2' }, 3);
  const { component, client } = opened;
  let schemaVersion = 3;
  component.handle = (request) => {
    const answer = decide(request);
    if (request.snapshotWanted && answer.result?.$case === 'events') {
      answer.result.value.snapshot = { sequence: 0, state: any('State', '100'), retention: 0, schemaVersion };
    }
    return answer;
  };
  const root = newRoot();
  for (const amount of ['1', '2', '3', '4', '5']) await deposit(client, root, amount);
  // It was wanted with the third, so it includes sequence 2.
  const { events } = component.requests.at(-1)!;
  assert.deepEqual([events!.snapshot!.sequence, textOf(events!.snapshot!.state)], [2, '100']);
  assert.deepEqual(amounts(component.requests.at(-1)!), ['4']);
  assert.equal(events!.nextSequence, 4);

  const other = newRoot();
  schemaVersion = 2;
  for (const amount of ['1', '2', '3', '4']) await deposit(client, other, amount);
  assert.equal(component.requests.at(-1)!.events!.snapshot, undefined);
  assert.deepEqual(amounts(component.requests.at(-1)!), ['1', '2', '3']);
});

test('the five statuses that mean no are rejections of their kind; they are recorded', async () => {
  await using opened = await open();
  const { component, client } = opened;
  const expected: [status, string, string, status][] = [
    [status.INVALID_ARGUMENT, 'INVALID_ARGUMENT', 'INVALID', status.INVALID_ARGUMENT],
    [status.OUT_OF_RANGE, 'OUT_OF_RANGE', 'INVALID', status.INVALID_ARGUMENT],
    [status.FAILED_PRECONDITION, 'FAILED_PRECONDITION', 'CONFLICT', status.FAILED_PRECONDITION],
    [status.ALREADY_EXISTS, 'ALREADY_EXISTS', 'CONFLICT', status.FAILED_PRECONDITION],
    [status.NOT_FOUND, 'NOT_FOUND', 'NOT_FOUND', status.NOT_FOUND],
  ];
  for (const [said, code, kind, answered] of expected) {
    component.handle = () => {
      throw refusal(said, 'not like this');
    };
    const book = command(newRoot(), any('Deposit', '1'), { key: `no ${code}` });
    const call = () => client.unary('gateway.execute', structuredClone(book));
    await assert.rejects(call(), (error: never) => {
      assert.match(String(error), /not like this/);
      return failsWith('REJECTED', { code, kind, duplicate: 'false' }, answered)(error);
    });
    component.handle = decide;
    await assert.rejects(call(), failsWith('REJECTED', { code, kind, duplicate: 'true' }, answered));
  }
});

test('every other status is a failure with its reason, and nothing is recorded', async () => {
  await using opened = await open();
  const { component, client } = opened;
  const expected: [status, string, status][] = [
    [status.CANCELLED, 'COMPONENT_UNAVAILABLE', status.UNAVAILABLE],
    [status.UNKNOWN, 'COMPONENT_FAULT', status.INTERNAL],
    [status.PERMISSION_DENIED, 'COMPONENT_FAULT', status.INTERNAL],
    [status.ABORTED, 'COMPONENT_FAULT', status.INTERNAL],
    [status.INTERNAL, 'COMPONENT_FAULT', status.INTERNAL],
    [status.DATA_LOSS, 'COMPONENT_FAULT', status.INTERNAL],
    [status.DEADLINE_EXCEEDED, 'COMPONENT_TIMEOUT', status.DEADLINE_EXCEEDED],
    [status.RESOURCE_EXHAUSTED, 'OVERLOADED', status.RESOURCE_EXHAUSTED],
    [status.UNAVAILABLE, 'COMPONENT_UNAVAILABLE', status.UNAVAILABLE],
    [status.UNIMPLEMENTED, 'COMPONENT_UNAVAILABLE', status.UNAVAILABLE],
    [status.UNAUTHENTICATED, 'COMPONENT_UNAVAILABLE', status.UNAVAILABLE],
  ];
  for (const [said, reason, answered] of expected) {
    component.handle = () => {
      throw refusal(said, 'broken');
    };
    const book = command(newRoot(), any('Deposit', '1'), { key: `failure ${said}` });
    const call = () => client.unary<CommandResponse>('gateway.execute', structuredClone(book));
    await assert.rejects(call(), failsWith(reason, {}, answered), status[said]);
    component.handle = decide;
    assert.equal((await call()).duplicate, false);
  }
  // What is not among gRPC's statuses either.
  component.handle = () => {
    throw refusal(99 as status, 'broken');
  };
  await assert.rejects(deposit(client, newRoot(), '1'), failsWith('COMPONENT_FAULT'));
});

test('UNAVAILABLE, UNIMPLEMENTED and UNAUTHENTICATED show in /readyz until the component answers again', async () => {
  await using opened = await open();
  const { component, client } = opened;
  for (const code of [status.UNIMPLEMENTED, status.UNAUTHENTICATED, status.UNAVAILABLE]) {
    component.handle = () => {
      throw refusal(code, 'a bad deployment');
    };
    await assert.rejects(deposit(client, newRoot(), '1'));
    // It is reported; it does not take the pod out.
    assert.deepEqual(await readiness(opened), { status: 200, account: `${status[code]}: a bad deployment` });
    // A rejection is an answer, too.
    component.handle = () => {
      throw refusal(status.NOT_FOUND, 'no such account');
    };
    await assert.rejects(deposit(client, newRoot(), '1'), failsWith('REJECTED'));
    assert.deepEqual(await readiness(opened), { status: 200, account: 'ok' });
  }
});

test('the deadline: COMPONENT_TIMEOUT, and the call is cancelled at the server', async () => {
  await using opened = await open({ DAYBOOK__LIMITS__COMPONENT_TIMEOUT_MS: '200' });
  const { component, client } = opened;
  const ended = Promise.withResolvers<void>();
  component.handle = async (_, call) => {
    await cancelled(call);
    ended.resolve();
    return { result: undefined };
  };
  const root = newRoot();
  await assert.rejects(deposit(client, root, '1'), (error: never) => {
    const left = Number(detailsOf(error).metadata.timeout_ms);
    assert(left > 0 && left <= 200, `timeout_ms: ${left}`);
    return failsWith('COMPONENT_TIMEOUT', { component: 'account' }, status.DEADLINE_EXCEEDED)(error);
  });
  await ended.promise;
  component.handle = decide;
  assert.equal((await deposit(client, root, '2')).events!.nextSequence, 1);
});

test('a deadline of the caller that is sooner counts, and a caller that cancels ends the call at the server', async () => {
  await using opened = await open();
  const { component, client } = opened;
  for (const deadlineMs of [150, undefined]) {
    const asked = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<void>();
    component.handle = async (_, call) => {
      asked.resolve();
      await cancelled(call);
      ended.resolve();
      return { result: undefined };
    };
    const book = command(newRoot(), any('Deposit', '1'));
    if (deadlineMs !== undefined) {
      await assert.rejects(client.unary('gateway.execute', book, { deadlineMs }), { code: status.DEADLINE_EXCEEDED });
    } else {
      const stream = client.serverStream('gateway.executeStream', book);
      stream.on('error', () => {});
      await asked.promise;
      stream.cancel();
    }
    await ended.promise;
  }
});

test('a history over one message: HISTORY_TOO_LARGE with the size and the limit, for that aggregate alone', async () => {
  // At hand in memory, and read from the store.
  for (const cache of ['131072', '0']) {
    await using opened = await open({
      DAYBOOK__LIMITS__MESSAGE_BYTES: '65536',
      DAYBOOK__LIMITS__PAYLOAD_BYTES: '32768',
      DAYBOOK__LIMITS__EVENT_BYTES_PER_REPLY: '65536',
      DAYBOOK__LIMITS__HOT_CACHE_AGGREGATE_BYTES: cache,
    });
    const { component, client } = opened;
    const large = any('Deposited', '1'.repeat(20_000));
    component.handle = () => ({ result: { $case: 'events', value: eventBook([large]) } });
    const root = newRoot();
    for (let i = 0; i < 4; i++) await deposit(client, root, '1');
    const asked = component.requests.length;
    await assert.rejects(deposit(client, root, '1'), (error: never) => {
      assert(Number(detailsOf(error).metadata.size) > 65_536);
      return failsWith('HISTORY_TOO_LARGE', { limit: '65536' }, status.FAILED_PRECONDITION)(error);
    });
    assert.equal(component.requests.length, asked);
    await deposit(client, newRoot(), '1');
    assert.equal((await readiness(opened)).account, 'ok');
  }
});

test('trap 35: a reply that breaks the contract is COMPONENT_FAULT, and nothing is stored', async () => {
  await using opened = await open();
  const { component, client } = opened;
  const cover = { root: undefined, domain: '', correlationId: '', tenant: '' };
  const reply = (change: (book: ReturnType<typeof eventBook>) => void): BusinessResponse => {
    const book = eventBook([any('Deposited', '1')]);
    change(book);
    return { result: { $case: 'events', value: book } };
  };
  const replies: Record<string, BusinessResponse> = {
    'another root': reply((book) => {
      book.cover = { ...cover, root: { value: newRoot() } };
    }),
    'another domain': reply((book) => {
      book.cover = { ...cover, domain: 'invoice' };
    }),
    'another tenant': reply((book) => {
      book.cover = { ...cover, tenant: 'acme' };
    }),
    'a page without an event': reply((book) => {
      book.pages[0]!.event = undefined;
    }),
    'a type that is none': reply((book) => {
      book.pages[0]!.event!.typeUrl = 'Deposited';
    }),
    neither: { result: undefined },
  };
  const root = newRoot();
  for (const [name, response] of Object.entries(replies)) {
    component.handle = () => response;
    const fails = failsWith('COMPONENT_FAULT', { component: 'account' }, status.INTERNAL);
    await assert.rejects(deposit(client, root, '1'), fails, name);
  }
  component.handle = decide;
  assert.equal((await deposit(client, root, '1')).events!.nextSequence, 1);
});

test('a component that goes away and comes back works again', async () => {
  await using opened = await open();
  const { component, client } = opened;
  const root = newRoot();
  await deposit(client, root, '1');
  component.stop();
  await assert.rejects(deposit(client, root, '2'), failsWith('COMPONENT_UNAVAILABLE', { component: 'account' }));
  assert.match((await readiness(opened)).account, /^UNAVAILABLE: /);
  await component.start();
  const { events } = await eventually('the component is found again', () =>
    deposit(client, root, '3').catch(() => undefined),
  );
  assert.equal(events!.nextSequence, 2);
  assert.equal((await readiness(opened)).account, 'ok');
});

test('a component that stops with work in hand: COMPONENT_UNAVAILABLE, nothing stored', async () => {
  await using opened = await open();
  const { component, client } = opened;
  component.handle = () => {
    component.stop();
    return new Promise(() => {});
  };
  const root = newRoot();
  await assert.rejects(deposit(client, root, '1'), failsWith('COMPONENT_UNAVAILABLE'));
  await component.start();
  component.handle = decide;
  const { events } = await eventually('the component is found again', () =>
    deposit(client, root, '1').catch(() => undefined),
  );
  assert.equal(events!.nextSequence, 1);
});
