import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Hello } from '../../src/gen/daybook/v1/component.ts';
import { detailsOf, type TestClient, testDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { hello } from '../support/hosting.ts';
import { processManager, projector, saga } from '../support/reactors.ts';

/** Attaches, and waits for Welcome. */
async function welcomed(client: TestClient, rest: Partial<Hello>) {
  const host = client.attach();
  host.send({ hello: hello([], rest) });
  const { welcome } = await host.next();
  assert.ok(welcome !== undefined, 'expected Welcome first');
  return host;
}

async function refusal(client: TestClient, rest: Partial<Hello>): Promise<{ field: string; message: string }> {
  const host = client.attach();
  host.send({ hello: hello([], rest) });
  const { error } = await host.whenEnded();
  assert.ok(error !== undefined);
  const { reason, metadata } = detailsOf(error);
  assert.equal(reason, 'INVALID_ARGUMENT', error.message);
  return { field: metadata.field!, message: error.details };
}

test('a component may host projectors, sagas and process managers, alone or beside aggregates', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  await welcomed(client, { projectors: [projector('summary')] });
  await welcomed(client, {
    sagas: [saga('fulfilment', { filter: { domains: ['account'], types: ['account.Opened'] } })],
  });
  await welcomed(client, { processManagers: [processManager('payment')], aggregates: hello([{}]).aggregates });
  // Another process with the same, and the next version of one.
  await welcomed(client, { projectors: [projector('summary')], sagas: [saga('fulfilment', { version: 2 })] });
  const attached = await eventually('the log', () => {
    const lines = daemon.logLines.filter((line) => line.includes('component attached'));
    return lines.length === 4 && lines;
  });
  assert.deepEqual(JSON.parse(attached[3]!).reactors, ['summary', 'fulfilment']);
});

test('a declaration that cannot be used ends the stream with the field, and leaves nothing behind', async () => {
  await using daemon = await testDaemon({ env: { DAYBOOK__DOMAINS: '[account, payment]' } });
  const client = daemon.client();
  const cases: [Partial<Hello>, string, RegExp][] = [
    [{ projectors: [projector('Summary')] }, 'hello.projectors.name', /found "Summary"/],
    [{ sagas: [saga('a', { generation: 2 })] }, 'hello.sagas.generation', /never done again.*another name/],
    [
      { sagas: [saga('a', { filter: { domains: [], types: ['account.Opened', ''] } })] },
      'hello.sagas.filter.types',
      /found ""/,
    ],
    [{ projectors: [projector('a')], sagas: [saga('a')] }, 'hello.sagas.name', /is the name of a projector/],
    [{ processManagers: [processManager('a')] }, 'hello.process_managers.domain', /owns \(account, payment\)/],
    [{ projectors: [projector('a', { partitions: 2000 })] }, 'hello.projectors.partitions', /expected 1 to 1024/],
  ];
  for (const [rest, field, sentence] of cases) {
    const refused = await refusal(client, rest);
    assert.equal(refused.field, field);
    assert.match(refused.message, sentence);
  }
  await welcomed(client, { projectors: [projector('a', { partitions: 8 })] });
});

test('two processes that mean something else by one declaration: the second is told what to raise', async () => {
  await using daemon = await testDaemon();
  const client = daemon.client();
  const first = await welcomed(client, { projectors: [projector('summary', { partitions: 8 })] });
  const filter = { domains: ['account'], types: [] };
  const other = { projectors: [projector('summary', { partitions: 8, filter })] };
  const wider = await refusal(client, other);
  assert.equal(wider.field, 'hello.projectors.filter.domains');
  assert.match(wider.message, /raise version/);
  assert.match((await refusal(client, { projectors: [projector('summary')] })).message, /raise generation/);
  // Without the first, nothing speaks against it.
  first.stream.cancel();
  await eventually('the first is gone', () => daemon.logLines.some((line) => line.includes('component detached')));
  await welcomed(client, other);
  // Its name stays what it was.
  assert.match((await refusal(client, { sagas: [saga('summary')] })).message, /is the name of a projector/);
});

test('what the configuration serves cannot be attached as the same, but as a newer version', async () => {
  const components = JSON.stringify([{ saga: 'fulfilment', address: '127.0.0.1:1', domains: ['account'] }]);
  await using daemon = await testDaemon({ env: { DAYBOOK__COMPONENTS: components } });
  const client = daemon.client();
  assert.match(
    (await refusal(client, { sagas: [saga('fulfilment')] })).message,
    /the configuration names a served saga/,
  );
  assert.match((await refusal(client, { projectors: [projector('fulfilment')] })).message, /is the name of a saga/);
  await welcomed(client, { sagas: [saga('fulfilment', { version: 2 })] });
});
