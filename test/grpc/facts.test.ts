import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { RecordRequest } from '../../src/gen/daybook/v1/coordinators.ts';
import { type Any, type CommandResponse, type EventPage, NO_ORIGIN } from '../../src/model/book.ts';
import { any, command, eventPage, newRoot, textOf, typeOf } from '../support/books.ts';
import { testDaemon } from '../support/daemon.ts';
import { failsWith } from '../support/failures.ts';
import { hostAccount } from '../support/hosting.ts';

function fact(payload: Any, externalId: string, externalSource = 'bank'): EventPage {
  return {
    ...eventPage(payload),
    origin: { ...NO_ORIGIN, externalSource, externalId },
    occurredAt: { seconds: 1_600_000_000, nanos: 0 },
  };
}

function record(root: Uint8Array, pages: EventPage[], askAggregate = false): RecordRequest {
  const cover = { root: { value: root }, domain: 'account', correlationId: 'paid', tenant: '' };
  return { facts: { cover, snapshot: undefined, pages, nextSequence: 0, consistencyToken: '' }, askAggregate };
}

test('a fact is recorded with its time, without a veto, and the next decision sees it', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  await hostAccount(client.attach());
  const root = newRoot();
  const answer = await client.unary<CommandResponse>(
    'business.record',
    record(root, [fact(any('Deposited', '7'), 'p1'), fact(any('Deposited', '8'), 'p2')]),
  );
  const [first, second] = answer.events!.pages;
  assert.deepEqual([first!.sequence, second!.sequence, answer.position, answer.duplicate], [0, 1, 2, false]);
  assert.equal(first!.occurredAt!.seconds, 1_600_000_000);
  assert.ok(first!.createdAt!.seconds > 1_700_000_000);
  assert.deepEqual([first!.origin!.externalSource, first!.origin!.externalId], ['bank', 'p1']);
  await client.unary('gateway.execute', command(root, any('Withdraw', '15')));
});

test('trap 24: the key of a fact is source and id: another source, or another aggregate, is another fact', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  await hostAccount(client.attach());
  const root = newRoot();
  for (const [at, page] of [
    [root, fact(any('Deposited', '1'), 'p1')],
    [root, fact(any('Deposited', '1'), 'p1', 'post')],
    [newRoot(), fact(any('Deposited', '1'), 'p1')],
  ] as const) {
    assert.equal((await client.unary<CommandResponse>('business.record', record(at, [page]))).duplicate, false);
  }
  const again = await client.unary<CommandResponse>(
    'business.record',
    record(root, [fact(any('Deposited', '1'), 'p1'), fact(any('Deposited', '9'), 'p9')]),
  );
  assert.equal(again.duplicate, false);
  assert.deepEqual(
    again.events!.pages.map(({ sequence }) => sequence),
    [0, 2],
  );
});

test('the aggregate may be asked to turn facts into its own events; it cannot refuse them', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  await hostAccount(client.attach());
  const root = newRoot();
  const made = await client.unary<CommandResponse>(
    'business.record',
    record(root, [fact(any('Deposit', '7'), 'p1')], true),
  );
  assert.deepEqual(
    made.events!.pages.map(({ event, sequence }) => `${sequence} ${typeOf(event)}`),
    ['0 Deposit', '1 Deposited'],
  );
  assert.equal(made.events!.pages[1]!.origin!.externalId, '');
  const refused = await client.unary<CommandResponse>(
    'business.record',
    record(newRoot(), [fact(any('Withdraw', '7'), 'p2')], true),
  );
  assert.deepEqual(
    refused.events!.pages.map(({ event }) => typeOf(event)),
    ['Withdraw'],
  );
});

test('the same fact 1,000 times from 10 connections: recorded once, duplicate for the rest, also after a restart', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'daybook-facts-'));
  const env = { DAYBOOK__STORAGE__TYPE: 'sqlite', DAYBOOK__STORAGE__PATH: join(folder, 'log.db') };
  const root = newRoot();
  const request = record(root, [fact(any('Deposited', '7'), 'p1')]);
  try {
    let first: CommandResponse | undefined;
    for (const restarted of [false, true]) {
      await using daemon = await testDaemon({ env });
      await hostAccount(daemon.client().attach());
      const clients = Array.from({ length: 10 }, () => daemon.client());
      const answers = await Promise.all(
        Array.from({ length: 1000 }, (_, i) => clients[i % 10]!.unary<CommandResponse>('business.record', request)),
      );
      const fresh = answers.filter(({ duplicate }) => !duplicate);
      assert.equal(fresh.length, restarted ? 0 : 1);
      first ??= fresh[0]!;
      for (const { events, position } of answers) {
        assert.equal(position, first.position);
        assert.deepEqual(events!.pages, first.events!.pages);
      }
      assert.equal(textOf(first.events!.pages[0]!.event), '7');
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('bad facts are refused before anything is stored', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  await hostAccount(client.attach());
  const root = newRoot();
  const good = fact(any('Deposited', '1'), 'p1');
  const cases: [RecordRequest, string][] = [
    [{ facts: undefined, askAggregate: false }, 'facts'],
    [record(root.subarray(1), [good]), 'facts.cover.root'],
    [record(root, []), 'facts.pages'],
    [record(root, [good, good]), 'facts.pages'],
    [record(root, [{ ...good, origin: undefined }]), 'facts.pages[0].origin.external_source'],
    [record(root, [fact(any('Deposited', '1'), 'p1', 'a/b')]), 'facts.pages[0].origin.external_source'],
    [record(root, [fact(any('Deposited', '1'), '')]), 'facts.pages[0].origin.external_id'],
    [record(root, [{ ...good, event: undefined }]), 'facts.pages[0].event'],
    [record(root, [{ ...good, occurredAt: { seconds: 9e9, nanos: 0 } }]), 'facts.pages[0].occurred_at'],
  ];
  for (const [request, field] of cases)
    await assert.rejects(client.unary('business.record', request), failsWith('INVALID_ARGUMENT', { field }), field);
  const nobody = record(root, [good]);
  nobody.facts!.cover!.domain = 'nobody';
  await assert.rejects(client.unary('business.record', nobody), failsWith('UNKNOWN_DOMAIN'));
});
