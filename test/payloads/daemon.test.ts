// How a daemon learns what payloads look like.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { call } from '../../src/cli/connect.ts';
import { CommandGatewayDefinition } from '../../src/gen/daybook/v1/gateway.ts';
import { PayloadsDefinition } from '../../src/gen/daybook/v1/payloads.ts';
import { PayloadTypes } from '../../src/payloads/payload-types.ts';
import { command, newRoot } from '../support/books.ts';
import { detailsOf, type TestDaemon, testDaemon } from '../support/daemon.ts';
import { descriptorSet, file, message } from '../support/descriptors.ts';
import { eventually } from '../support/eventually.ts';
import { hello, hostAccount } from '../support/hosting.ts';
import { shopServer } from '../support/shop-server.ts';

const SHOP = join(import.meta.dirname, '../../examples/shop/gen/shop.binpb');
const folder = mkdtempSync(join(tmpdir(), 'daybook-payloads-'));
after(() => rmSync(folder, { recursive: true }));

async function knownTo({ address }: TestDaemon): Promise<PayloadTypes> {
  const { fileDescriptorSet } = await call(address, PayloadsDefinition, 'getDescriptors', {});
  return new PayloadTypes([{ source: 'the daemon', bytes: fileDescriptorSet }]);
}

async function attach(daemon: TestDaemon, domain: string, fileDescriptorSet: Uint8Array) {
  const host = daemon.client().attach();
  host.send({ hello: hello([{ domain }], { name: domain, fileDescriptorSet }) });
  return host;
}

describe('Hello', () => {
  test('brings descriptors along, which stay when the component is gone', async () => {
    await using daemon = await testDaemon();
    assert.equal((await call(daemon.address, PayloadsDefinition, 'getDescriptors', {})).fileDescriptorSet.length, 0);
    const host = await attach(daemon, 'order', readFileSync(SHOP));
    assert((await host.next()).welcome !== undefined);
    host.stream.end();
    await host.whenEnded();
    assert((await knownTo(daemon)).has('shop.v1.OrderPlaced'));
  });

  test('with something else is refused, with INVALID_ARGUMENT and the field', async () => {
    await using daemon = await testDaemon();
    const importing = descriptorSet({ ...file('a.proto', 'a'), dependency: ['money.proto'] });
    for (const wrong of [Buffer.from('syntax = "proto3";'), importing]) {
      const host = await attach(daemon, 'order', wrong);
      const { error } = await host.whenEnded();
      const { reason, metadata } = detailsOf(error!);
      assert.deepEqual([reason, metadata], ['INVALID_ARGUMENT', { field: 'hello.file_descriptor_set' }]);
    }
    assert.equal((await call(daemon.address, PayloadsDefinition, 'getDescriptors', {})).fileDescriptorSet.length, 0);
  });

  test('of two components that differ: all types are known, and a warning says so', async () => {
    await using daemon = await testDaemon();
    const one = descriptorSet(file('events.proto', 'shop', message('Happened', 'a'), message('Placed')));
    const two = descriptorSet(file('events.proto', 'shop', message('Happened', 'b'), message('Taken')));
    await (await attach(daemon, 'order', one)).next();
    await (await attach(daemon, 'stock', two)).next();
    const known = await knownTo(daemon);
    assert.deepEqual(known.names(), ['shop.Happened', 'shop.Placed', 'shop.Taken']);
    // Whoever came last counts.
    assert.doesNotThrow(() => known.encode('shop.Happened', '{"b":"x"}'));
    const warning = daemon.logLines.map((line) => JSON.parse(line)).find(({ level }) => level === 'warn');
    assert.equal(
      warning.msg,
      'component "order" 1 defines shop.Happened otherwise than component "stock" 1, whose definition is used',
    );
  });
});

describe('the configuration', () => {
  test('names files', async () => {
    await using daemon = await testDaemon({ env: { DAYBOOK__DESCRIPTORS: JSON.stringify([SHOP]) } });
    assert((await knownTo(daemon)).has('shop.v1.PlaceOrder'));
  });

  test('a file that is missing or broken stops the start with a sentence', async () => {
    const broken = join(folder, 'broken.binpb');
    writeFileSync(broken, descriptorSet(file('a.proto', 'a', message('A', 'b: .a.Missing'))));
    const start = (path: string) => testDaemon({ env: { DAYBOOK__DESCRIPTORS: JSON.stringify([SHOP, path]) } });
    await assert.rejects(start(join(folder, 'none')), {
      message: `descriptors[1]: ${join(folder, 'none')} cannot be used: it does not exist`,
    });
    await assert.rejects(start(broken), /^Error: descriptors\[1\]: .*broken\.binpb cannot be used: .*Missing/);
    await assert.rejects(start(import.meta.filename), /cannot be used: expected a serialized .*FileDescriptorSet/);
  });
});

describe('reflection of a served component', () => {
  for (const version of ['v1', 'v1alpha'] as const) {
    test(`${version}: is asked for the types that the log holds`, async () => {
      using shop = await shopServer([version]);
      await using daemon = await testDaemon({
        env: { DAYBOOK__COMPONENTS: JSON.stringify([{ aggregate: 'order', address: shop.address }]) },
      });
      const payload = { typeUrl: 'type.googleapis.com/shop.v1.PlaceOrder', value: Buffer.from('\x0a\x03A-1') };
      const book = command(newRoot(), payload, { domain: 'order' });
      const { events } = await call(daemon.address, CommandGatewayDefinition, 'execute', book);
      const known = await knownTo(daemon);
      assert.deepEqual(known.decode(events!.pages[0]!.event!), { orderNo: 'A-1' });
      // The whole file, so what the log does not hold yet.
      assert(known.has('shop.v1.OrderCancelled'));
    });
  }

  test('none, or nobody there: nothing comes of it', async () => {
    using shop = await shopServer([]);
    await using daemon = await testDaemon({
      env: {
        DAYBOOK__COMPONENTS: JSON.stringify([
          { aggregate: 'order', address: shop.address },
          { aggregate: 'stock', address: '127.0.0.1:1' },
        ]),
      },
    });
    assert.equal((await call(daemon.address, PayloadsDefinition, 'getDescriptors', {})).fileDescriptorSet.length, 0);
    const lines = daemon.logLines.map((line) => JSON.parse(line)).filter(({ msg }) => /reflection/.test(msg));
    assert.deepEqual(lines.map(({ level, domain }) => [level, domain]).sort(), [
      ['debug', 'order'],
      ['debug', 'stock'],
    ]);
  });
});

test('rejected commands, and those at which a component fails, are logged at debug with their content', async () => {
  await using daemon = await testDaemon();
  const host = daemon.client().attach();
  await hostAccount(host);
  const execute = (type: string) => {
    const payload = { typeUrl: `type.test/account.${type}`, value: Buffer.from('7') };
    return call(daemon.address, CommandGatewayDefinition, 'execute', command(newRoot(), payload));
  };
  await execute('Deposit');
  await assert.rejects(execute('Withdraw'));
  await assert.rejects(execute('Nonsense'));
  const told = () =>
    daemon.logLines.map((line) => JSON.parse(line)).filter(({ level, commands }) => level === 'debug' && commands);
  await eventually('two lines', () => told().length === 2);
  const [rejected, failed] = told();
  assert.deepEqual([rejected.msg, rejected.code], ['command rejected', 'INSUFFICIENT_FUNDS']);
  assert.deepEqual(rejected.commands, ['account.Withdraw (1 bytes)']);
  assert.deepEqual(
    [failed.msg, failed.commands],
    ['the component failed with a command', ['account.Nonsense (1 bytes)']],
  );
});
