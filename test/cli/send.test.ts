// `daybook send`, `explain`, `events` and `tail` against a daemon with the shop attached.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { rootOf as clientsRootOf, uuidText } from '@daybook/client';
import { attachShop } from '../../examples/shop/host.ts';
import { rootOf } from '../../src/cli/send.ts';
import { runCli } from '../support/cli.ts';
import { type TestDaemon, testDaemon } from '../support/daemon.ts';
import { descriptorSet, file, message } from '../support/descriptors.ts';
import { hello } from '../support/hosting.ts';

let daemon: TestDaemon;
let shop: ReturnType<typeof attachShop>;
before(async () => {
  daemon = await testDaemon();
  shop = attachShop(daemon.address);
  await shop.ready();
});
after(async () => {
  await shop.close();
  await daemon[Symbol.asyncDispose]();
});

/** As far as tests read it. */
interface Told {
  commands: string[];
  rejection?: { code: string };
  events: object[];
}

let orders = 0;
const newOrder = () => `S-${++orders}`;

async function run(...args: string[]) {
  const { code, stdout, stderr } = await runCli([...args, '--address', daemon.address]);
  return { code, stdout, stderr, lines: stdout.trimEnd().split('\n') };
}

const place = (orderNo: string) => JSON.stringify({ orderNo, customer: 'Ada' });

test('a name gives the root that the clients give it', () => {
  assert.deepEqual(rootOf('A-1001'), clientsRootOf('A-1001'));
  const uuid = '018f3c1e-0000-7000-8000-0000000000aa';
  assert.equal(uuidText(rootOf(uuid)), uuid);
  assert.equal(uuidText(rootOf(uuid.replaceAll('-', '').toUpperCase())), uuid);
});

describe('send', () => {
  test('prints what was decided, and events and tail show it decoded', async () => {
    const orderNo = newOrder();
    const root = uuidText(clientsRootOf(orderNo));
    const sent = await run(
      'send',
      'order',
      'PlaceOrder',
      place(orderNo),
      '--root',
      orderNo,
      '--correlation-id',
      'c-send',
    );
    assert.equal(sent.stderr, '');
    assert.equal(sent.code, 0);
    assert.equal(sent.lines[0], `shop.v1.PlaceOrder to order/${root}`);
    assert.match(sent.lines[1]!, /^decided: one event at position \d+$/);
    assert.deepEqual(sent.lines.slice(2), [
      `  #0  shop.v1.OrderPlaced {"orderNo":"${orderNo}","customer":"Ada"}`,
      'correlation id: c-send',
    ]);
    const payload = `{"orderNo":"${orderNo}","customer":"Ada"}`;
    const events = await run('events', `order/${root}`);
    assert(events.lines[1]!.endsWith(payload));
    const tail = await run('tail', '--no-follow', '--correlation-id', 'c-send', '--json');
    assert.deepEqual(JSON.parse(tail.stdout).event, {
      type: 'shop.v1.OrderPlaced',
      size: 10,
      payload: { orderNo, customer: 'Ada' },
    });
    const raw = await run('tail', '--no-follow', '--correlation-id', 'c-send', '--json', '--raw');
    assert.deepEqual(Object.keys(JSON.parse(raw.stdout).event), ['type', 'size', 'bytes']);
  });

  test('a rejection ends with 4', async () => {
    const sent = await run('send', 'order', 'ConfirmOrder', '--root', newOrder());
    assert.equal(sent.code, 4);
    assert.equal(sent.lines[1], 'rejected: ORDER_NOT_FOUND: no such order');
    const json = await run('send', 'order', 'shop.v1.ConfirmOrder', '{}', '--root', newOrder(), '--json');
    assert.equal(json.code, 4);
    const told = JSON.parse(json.stdout);
    assert.deepEqual(
      [told.outcome, told.rejection],
      ['rejected', { kind: 'not-found', code: 'ORDER_NOT_FOUND', message: 'no such order' }],
    );
  });

  test('the same key again gives the first outcome; another sequence than the next is refused', async () => {
    const orderNo = newOrder();
    const send = (...options: string[]) =>
      run('send', 'order', 'PlaceOrder', place(orderNo), '--root', orderNo, '--json', ...options);
    const first = JSON.parse((await send('--key', orderNo)).stdout);
    const again = JSON.parse((await send('--key', orderNo)).stdout);
    assert.deepEqual([again.duplicate, again.position], [true, first.position]);
    const stale = await send('--sequence', '0');
    assert.match(stale.stderr, /^SEQUENCE_CONFLICT: /);
    assert.equal(stale.code, 1);
  });

  test('--dry-run stores nothing, now and as of then', async () => {
    const orderNo = newOrder();
    const send = (...args: string[]) => run('send', 'order', ...args, '--root', orderNo);
    const nothing = await send('PlaceOrder', place(orderNo), '--dry-run');
    assert.equal(nothing.lines[1], 'would be decided: one event, nothing is stored');
    await send('PlaceOrder', place(orderNo));
    await send('AddItem', '{"sku":"x","quantity":1,"unitPence":5}');
    assert.equal(
      (await send('ConfirmOrder', '--dry-run')).lines[2],
      `  #2  shop.v1.OrderConfirmed {"totalPence":"5","lines":[{"sku":"x","quantity":1,"unitPence":5}],"orderNo":"${orderNo}"}`,
    );
    const then = await send('ConfirmOrder', '--dry-run', '--as-of', '0');
    assert.deepEqual(
      [then.code, then.lines[1]],
      [4, 'would be rejected: EMPTY_ORDER: an order without items cannot be confirmed'],
    );
  });

  test('what is not understood is told with what there is', async () => {
    const cases: [string[], number, RegExp][] = [
      [['order', 'PlaceOder'], 1, /^PlaceOder: no such type among shop\.v1\.PlaceOrder, shop\.v1\./],
      [['order', 'PlaceOrder', '{"number":1}'], 2, /^shop\.v1\.PlaceOrder: .*"number"/],
      [['order', 'PlaceOrder', 'no json'], 2, /^shop\.v1\.PlaceOrder: /],
      [['order', 'x.Y', 'no json', '--json-payload'], 2, /^expected JSON: /],
      [['Order', 'PlaceOrder'], 2, /^expected a domain/],
      [['order', 'PlaceOrder', '--as-of', '1'], 2, /^--as-of goes with --dry-run only/],
      [['order', 'PlaceOrder', '--sync', 'all'], 2, /Allowed choices are none, simple, cascade/],
      [['order', 'PlaceOrder', '--root', ''], 2, /^--root: /],
      [['nobody', 'x.Y', '--json-payload'], 1, /^UNKNOWN_DOMAIN: /],
    ];
    for (const [args, code, sentence] of cases) {
      const sent = await run('send', ...args);
      assert.match(sent.stderr, sentence);
      assert.equal(sent.code, code, args.join(' '));
    }
  });

  test('a name that means several types is told with all of them', async () => {
    await using other = await testDaemon();
    const none = await runCli(['send', 'order', 'Place', '--address', other.address]);
    assert.match(none.stderr, /^Place: the daemon knows no descriptors: /);
    const host = other.client().attach();
    const set = descriptorSet(file('a.proto', 'a', message('Place')), file('b.proto', 'b', message('Place')));
    host.send({ hello: hello([{ domain: 'order' }], { fileDescriptorSet: set }) });
    await host.next();
    const { stderr, code } = await runCli(['send', 'order', 'Place', '--address', other.address]);
    assert.equal(stderr, 'Place may be a.Place, b.Place: say which\n');
    assert.equal(code, 1);
  });
});

describe('explain', () => {
  test('commands, rejections and events of one conversation', async () => {
    const orderNo = newOrder();
    const send = (...args: string[]) =>
      run('send', 'order', ...args, '--root', orderNo, '--correlation-id', 'c-explain');
    await send('PlaceOrder', place(orderNo));
    await send('PlaceOrder', place(orderNo));
    await send('CancelOrder', '{"reason":"rain"}');
    const { lines, code } = await run('explain', 'c-explain');
    assert.equal(code, 0);
    const order = uuidText(clientsRootOf(orderNo)).replace(/^(.{8}).*(.{4})$/, 'order/$1…$2');
    const told = lines.map((line) => line.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/, 'TIME'));
    assert.deepEqual(told, [
      `TIME  ${order}  shop.v1.PlaceOrder`,
      `└─ #0  shop.v1.OrderPlaced {"orderNo":"${orderNo}","customer":"Ada"}`,
      `TIME  ${order}  shop.v1.PlaceOrder  ✗ ORDER_EXISTS: order ${orderNo} was placed already`,
      `TIME  ${order}  shop.v1.CancelOrder`,
      '└─ #1  shop.v1.OrderCancelled {"reason":"rain"}',
    ]);
    const { decisions } = JSON.parse((await run('explain', 'c-explain', '--json')).stdout);
    assert.deepEqual(
      decisions.map(({ commands, rejection, events }: Told) => [commands, rejection?.code, events.length]),
      [
        [['shop.v1.PlaceOrder'], undefined, 1],
        [['shop.v1.PlaceOrder'], 'ORDER_EXISTS', 0],
        [['shop.v1.CancelOrder'], undefined, 1],
      ],
    );
    assert.deepEqual(decisions[2].events[0].event.payload, { reason: 'rain' });
    const cut = await run('explain', 'c-explain', '--limit', '1');
    assert.match(cut.stderr, /^only the first 1 events are shown/);
  });

  test('a conversation that nobody had ends with 1', async () => {
    const { code, stdout, stderr } = await run('explain', 'c-never');
    assert.deepEqual([code, stdout], [1, '']);
    assert.equal(stderr, 'nothing is known of the conversation c-never\n');
  });
});
