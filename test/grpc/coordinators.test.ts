// The coordinators by name: events of other services come in, and dry runs of reactions. A whole daemon, and components that attach.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { attach } from '@daybook/client';
import type { CommandResponse, EventBook, EventPage } from '../../src/model/book.ts';
import { toTimestamp } from '../../src/model/time.ts';
import { any, command, eventPage, newRoot, textOf } from '../support/books.ts';
import { testDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { failsWith } from '../support/failures.ts';
import { hostAccount } from '../support/hosting.ts';

function parcel(root: Uint8Array, sequences: number[], text = 'sent'): EventBook {
  const pages = sequences.map(
    (sequence): EventPage => ({
      ...eventPage(any('Sent', `${text} ${sequence}`)),
      sequence,
      createdAt: toTimestamp(1_600_000_000_000_000 + sequence),
    }),
  );
  const cover = { root: { value: root }, domain: 'parcel', correlationId: 'track', tenant: '' };
  return { cover, snapshot: undefined, pages, nextSequence: 0, consistencyToken: '' };
}

/** With an account host, a projector, a saga and a process manager of parcels. */
async function opened() {
  const daemon = await testDaemon();
  const client = daemon.client();
  await hostAccount(client.attach());
  const target = newRoot();
  const host = attach({
    address: daemon.address,
    name: 'reactions',
    projectors: [
      {
        name: 'parcels',
        domains: ['parcel'],
        project: (events) => [{ payload: any('Row', events.map(({ event }) => textOf(event)).join()) }],
      },
    ],
    sagas: [
      {
        name: 'greeting',
        domains: ['parcel'],
        react: () => [{ domain: 'account', root: target, payload: any('Deposit', '1') }],
      },
    ],
    processManagers: [
      {
        name: 'tracking',
        domains: ['parcel'],
        initial: () => 0,
        evolve: (count: number) => count + 1,
        handle: () => ({ events: [any('Seen')] }),
      },
    ],
  });
  await host.ready();
  await eventually('all are declared', async () => {
    const { subscriptions } = await client.unary<{ subscriptions: unknown[] }>('control.listSubscriptions', {
      subscriptions: [],
    });
    return subscriptions.length === 3;
  });
  return {
    client,
    target,
    async [Symbol.asyncDispose]() {
      await host.close();
      await daemon[Symbol.asyncDispose]();
    },
  };
}

describe('events of another service', () => {
  test('are appended with their own sequences, once, and delivered as any other', async () => {
    await using world = await opened();
    const { client, target } = world;
    const root = newRoot();
    const handled = await client.unary<{ projections: { projection: { value: Buffer } }[] }>(
      'projectorCoordinator.handleSync',
      parcel(root, [0, 1]),
    );
    assert.deepEqual(
      handled.projections.map(({ projection }) => projection.value.toString()),
      ['sent 0,sent 1'],
    );
    const cover = { root: { value: root }, domain: 'parcel', correlationId: '', tenant: '' };
    const stored = () =>
      client.unary<EventBook>('query.getEventBook', { cover, selection: undefined, consistencyToken: '' });
    const [first] = (await stored()).pages;
    assert.equal(first!.occurredAt!.seconds, 1_600_000_000, 'when it happened there');
    assert.notEqual(first!.createdAt!.seconds, 1_600_000_000, 'when it was recorded here');
    assert.equal(first!.metadata['daybook-foreign'], '1');

    await client.unary('projectorCoordinator.handle', parcel(root, [1, 2]));
    await client.unary('sagaCoordinator.handle', parcel(root, [0, 1, 2]));
    assert.deepEqual(
      (await stored()).pages.map(({ sequence }) => sequence),
      [0, 1, 2],
    );
    const account = { root: { value: target }, domain: 'account', correlationId: '', tenant: '' };
    await eventually('the saga has answered each once', async () => {
      const book = await client.unary<EventBook>('query.getEventBook', {
        cover: account,
        selection: undefined,
        consistencyToken: '',
      });
      return book.pages.length === 3;
    });
  });

  test('HandleSync tells what the sagas and process managers answered', async () => {
    await using world = await opened();
    const { client, target } = world;
    const saga = await client.unary<{ commands: { cover: { root: { value: Buffer } } }[] }>(
      'sagaCoordinator.handleSync',
      parcel(newRoot(), [0]),
    );
    assert.deepEqual(
      saga.commands.map(({ cover }) => cover.root.value.toString('hex')),
      [Buffer.from(target).toString('hex')],
    );
    const tracking = await client.unary<{ processEvents: EventBook }>(
      'processManagerCoordinator.handleSync',
      parcel(newRoot(), [0]),
    );
    assert.equal(tracking.processEvents.pages.length, 1);
  });

  test('with a gap, another content, or of a domain of this log are refused with a reason', async () => {
    await using world = await opened();
    const { client } = world;
    const root = newRoot();
    await assert.rejects(
      client.unary('projectorCoordinator.handle', parcel(root, [1])),
      failsWith('SEQUENCE_CONFLICT', { expected: '1', actual: '0' }),
    );
    await client.unary('projectorCoordinator.handle', parcel(root, [0]));
    await assert.rejects(
      client.unary('projectorCoordinator.handle', parcel(root, [0], 'lost')),
      failsWith('INVALID_ARGUMENT', { field: 'pages' }),
    );
    const own = parcel(root, [1]);
    own.cover!.domain = 'account';
    await assert.rejects(
      client.unary('sagaCoordinator.handle', own),
      failsWith('INVALID_ARGUMENT', { field: 'cover.domain' }),
    );
    await assert.rejects(
      client.unary('sagaCoordinator.handle', parcel(root, [1, 3])),
      failsWith('INVALID_ARGUMENT', { field: 'pages[1].sequence' }),
    );
    await assert.rejects(
      client.unary('sagaCoordinator.handle', parcel(root, [])),
      failsWith('INVALID_ARGUMENT', { field: 'pages' }),
    );
  });
});

test('dry runs of reactions answer, and store and send nothing', async () => {
  await using world = await opened();
  const { client } = world;
  const dryRun = (coordinator: string, component: string, events: EventBook | undefined) =>
    client.unary<Record<string, unknown[]>>(`${coordinator}.dryRun`, { component, events });
  const book = parcel(newRoot(), [0]);
  assert.equal((await dryRun('projectorCoordinator', 'parcels', parcel(newRoot(), [3, 4]))).projections!.length, 1);
  assert.equal((await dryRun('sagaCoordinator', 'greeting', book)).commands!.length, 1);
  assert.equal((await dryRun('processManagerCoordinator', 'tracking', book)).ended, false);
  const head = await client.unary<{ position: number }>('positions.head', {});
  assert.equal(head.position, 0);
  await assert.rejects(
    dryRun('sagaCoordinator', 'parcels', book),
    failsWith('INVALID_ARGUMENT', { field: 'component' }),
  );
  await assert.rejects(
    dryRun('sagaCoordinator', 'greeting', parcel(newRoot(), [0, 1])),
    failsWith('INVALID_ARGUMENT', { field: 'pages' }),
  );
  await assert.rejects(
    dryRun('sagaCoordinator', 'greeting', undefined),
    failsWith('INVALID_ARGUMENT', { field: 'events' }),
  );
});

describe('Positions', () => {
  test('Wait answers when the subscriptions have passed what was written', async () => {
    await using world = await opened();
    const { client } = world;
    const written = await client.unary<CommandResponse>('gateway.execute', command(newRoot(), any('Deposit', '1')));
    const { consistencyToken, position } = written;
    for (const subscriptions of [[], ['parcels'], ['parcels', 'greeting']]) {
      const passed = await client.unary<{ position: number }>('positions.wait', {
        consistencyToken,
        subscriptions,
        timeout: undefined,
      });
      assert(passed.position >= position, `${passed.position} is not behind ${position}`);
    }
    const head = await client.unary<{ consistencyToken: string; position: number }>('positions.head', {});
    assert.deepEqual([head.position, head.consistencyToken], [position, consistencyToken]);
  });

  test('Wait says how far the slowest came when the time is over, and refuses what it does not know', async () => {
    await using world = await opened();
    const { client } = world;
    const { consistencyToken } = await client.unary<CommandResponse>(
      'gateway.execute',
      command(newRoot(), any('Deposit', '1')),
    );
    const wait = (subscriptions: string[], token = consistencyToken, seconds = 10) =>
      client.unary('positions.wait', { consistencyToken: token, subscriptions, timeout: { seconds, nanos: 0 } });
    await assert.rejects(wait(['nobody']), failsWith('INVALID_ARGUMENT', { field: 'subscriptions' }));
    await assert.rejects(wait([], 'no token'), failsWith('INVALID_ARGUMENT', { field: 'consistency_token' }));
    await assert.rejects(wait([], consistencyToken, -1), failsWith('INVALID_ARGUMENT', { field: 'timeout' }));
    await client.unary('control.pause', { subscription: 'parcels' });
    const paused = await client
      .unary<{ consistencyToken: string }>('sagaCoordinator.handle', parcel(newRoot(), [0]))
      .then(() => client.unary<{ consistencyToken: string }>('positions.head', {}));
    await assert.rejects(wait(['parcels'], paused.consistencyToken, 0), failsWith('WAIT_TIMEOUT', {}, 4));
    await client.unary('control.resume', { subscription: 'parcels' });
    await wait(['parcels'], paused.consistencyToken);
  });
});
