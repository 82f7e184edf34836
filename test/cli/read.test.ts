// `daybook events` and `daybook tail` against an EventQuery that answers what a test wants.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, beforeEach, describe, test } from 'node:test';
import { Server, ServerCredentials, type ServerWritableStream } from '@grpc/grpc-js';
import { DaybookError } from '../../src/errors.ts';
import { EventQueryDefinition, type Query, type ReadLogRequest } from '../../src/gen/daybook/v1/query.ts';
import { type EventBook, Json } from '../../src/gen/daybook/v1/types.ts';
import { serviceDefinition } from '../../src/grpc/definition.ts';
import { statusOf } from '../../src/grpc/status.ts';
import { openLog } from '../../src/telemetry/log.ts';
import { runCli, startCli } from '../support/cli.ts';

const ROOT = '018f3c1e-0000-7000-8000-0000000000aa';
const root = { value: Uint8Array.from(Buffer.from(ROOT.replaceAll('-', ''), 'hex')) };
const text = (value: string) => new TextEncoder().encode(value);
const json = (type: string, value: string) => ({
  typeUrl: 'type.googleapis.com/daybook.v1.Json',
  value: Json.encode({ type, bytes: text(value) }).finish(),
});

function book(first: number, ...events: EventBook['pages'][number]['event'][]): EventBook {
  return {
    cover: { root, domain: 'order', correlationId: 'c-1', tenant: '' },
    snapshot: undefined,
    pages: events.map((event, i) => ({
      sequence: first + i,
      createdAt: { seconds: 1767225600, nanos: 1000 * (first + i) },
      event,
      position: 10 + first + i,
      origin: undefined,
      metadata: {},
      unitId: new Uint8Array(16),
      occurredAt: undefined,
    })),
    nextSequence: first + events.length,
    consistencyToken: '',
  };
}

const placed = { typeUrl: 'type.googleapis.com/shop.v1.OrderPlaced', value: text('bytes') };

const server = new Server();
let address: string;
let asked: unknown[] = [];
let answer: (call: ServerWritableStream<unknown, unknown>) => void;

before(async () => {
  const handle = (call: ServerWritableStream<unknown, unknown>) => {
    asked.push(call.request);
    answer(call);
  };
  server.addService(serviceDefinition(EventQueryDefinition), { getEvents: handle, readLog: handle });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });
  address = `127.0.0.1:${port}`;
});
after(() => server.forceShutdown());
beforeEach(() => {
  asked = [];
  answer = (call) => call.end();
});

describe('events', () => {
  test('in columns, with the text of JSON payloads', async () => {
    answer = (call) => {
      call.write(book(0, placed, json('shop.ItemAdded', '{"sku":"a\\u0007","n":1}')));
      call.write(book(2, json('shop.Odd', 'no json\u001b[2J')));
      call.end();
    };
    const { code, stdout, stderr } = await runCli(['events', `order/${ROOT}`, '--address', address]);
    assert.equal(stderr, '');
    assert.equal(code, 0);
    const lines = stdout.trimEnd().split('\n');
    assert.match(lines[0]!, /^POSITION {2}TIME {25}EVENT +TYPE +BYTES {2}PAYLOAD$/);
    assert.match(
      lines[1]!,
      new RegExp(`^ {6}10 {2}2026-01-01T00:00:00\\.000000Z {2}order/${ROOT}#0 +shop\\.v1\\.OrderPlaced +5$`),
    );
    assert.match(lines[2]!, /#1 +shop\.ItemAdded +\d+ {2}\{"sku":"a\\u0007","n":1\}$/);
    assert.match(lines[3]!, /#2 +shop\.Odd +\d+ {2}no json\\u001b\[2J$/);
    for (const title of ['EVENT', 'TYPE']) {
      const column = lines[0]!.indexOf(title);
      for (const line of lines) assert.match(line.slice(column - 1), /^ \S/, line);
    }
  });

  test('as JSON, one object a line', async () => {
    answer = (call) => {
      call.write(book(0, placed, json('shop.ItemAdded', '{"sku":"a"}'), json('shop.Odd', 'no json')));
      call.end();
    };
    const { stdout } = await runCli(['events', `order/${ROOT}`, '--address', address, '--json']);
    const [first, second, third] = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(first, {
      position: 10,
      time: '2026-01-01T00:00:00.000000Z',
      domain: 'order',
      root: ROOT,
      sequence: 0,
      event: { type: 'shop.v1.OrderPlaced', size: 5, bytes: Buffer.from('bytes').toString('base64') },
      correlation_id: 'c-1',
      unit_id: '0'.repeat(32),
    });
    assert.deepEqual([second.event.type, second.event.payload], ['shop.ItemAdded', { sku: 'a' }]);
    assert.deepEqual(
      [third.event.type, third.event.payload, typeof third.event.bytes],
      ['shop.Odd', undefined, 'string'],
    );
  });

  test('--raw decodes nothing', async () => {
    answer = (call) => {
      call.write(book(0, json('shop.ItemAdded', '{"sku":"a"}')));
      call.end();
    };
    const { stdout } = await runCli(['events', `order/${ROOT}`, '--address', address, '--json', '--raw']);
    const { event } = JSON.parse(stdout);
    assert.deepEqual(Object.keys(event), ['type', 'size', 'bytes']);
    assert.equal(event.type, 'daybook.v1.Json');
  });

  test('a long payload is cut for people, not for programs', async () => {
    const long = JSON.stringify({ text: 'x'.repeat(10_000) });
    answer = (call) => {
      call.write(book(0, json('shop.Long', long)));
      call.end();
    };
    const people = await runCli(['events', `order/${ROOT}`, '--address', address]);
    assert.match(people.stdout, /x…\n$/);
    assert(people.stdout.length < 1000);
    const programs = await runCli(['events', `order/${ROOT}`, '--address', address, '--json']);
    assert.equal(JSON.parse(programs.stdout).event.payload.text.length, 10_000);
  });

  test('asks for what was said', async () => {
    const selections: [string[], Query['selection']][] = [
      [[], { $case: 'range', value: { lower: 0, upper: undefined } }],
      [['--from', '2', '--to', '5'], { $case: 'range', value: { lower: 2, upper: 5 } }],
      [['--as-of', '7'], { $case: 'temporal', value: { point: { $case: 'asOfSequence', value: 7 } } }],
      [
        ['--as-of', '2026-01-01T01:00:00.25+01:00'],
        {
          $case: 'temporal',
          value: { point: { $case: 'asOfTime', value: { seconds: 1767225600, nanos: 250_000_000 } } },
        },
      ],
    ];
    for (const [args, selection] of selections) {
      asked = [];
      const all = [
        'events',
        `order/${ROOT.replaceAll('-', '').toUpperCase()}`,
        '--address',
        address,
        '--tenant',
        't',
        ...args,
      ];
      const { code, stderr } = await runCli(all);
      assert.equal(code, 0);
      assert.match(stderr, /^no such events of order\//);
      const [query] = asked as Query[];
      assert.equal(Buffer.from(query!.cover!.root!.value).toString('hex'), ROOT.replaceAll('-', ''));
      assert.equal(query!.cover!.tenant, 't');
      assert.deepEqual(query!.selection, selection);
    }
  });

  test('what makes no sense is told, and ends with 2', async () => {
    const wrong: [string[], RegExp][] = [
      [['order'], /^expected <domain>\/<root>/],
      [['Order/x'], /^expected <domain>\/<root>/],
      [[`order/${ROOT}0`], /^expected <domain>\/<root>/],
      [[`order/${ROOT}`, '--from', '-1'], /^--from: expected a whole number/],
      [[`order/${ROOT}`, '--from', '5', '--to', '4'], /^--from is greater than --to/],
      [[`order/${ROOT}`, '--as-of', 'yesterday'], /^--as-of: expected a time/],
      [[`order/${ROOT}`, '--as-of', '1', '--from', '1'], /^--as-of stands alone/],
      [[`order/${ROOT}`, '--frm', '1'], /unknown option '--frm'/],
    ];
    const results = await Promise.all(wrong.map(([args]) => runCli(['events', ...args, '--address', address])));
    for (const [i, [args, sentence]] of wrong.entries()) {
      assert.match(results[i]!.stderr, sentence, args.join(' '));
      assert.equal(results[i]!.code, 2);
      assert.equal(results[i]!.stdout, '');
    }
    assert.equal(asked.length, 0);
  });

  test('an error of Daybook is shown by its reason', async () => {
    const log = await openLog({ level: 'fatal', stream: { write: () => {} }, pretty: false });
    answer = (call) => call.emit('error', statusOf(new DaybookError('STORE_UNAVAILABLE', 'the disk is gone'), log));
    const { code, stderr, stdout } = await runCli(['events', `order/${ROOT}`, '--address', address]);
    assert.equal(stderr, 'STORE_UNAVAILABLE: the disk is gone\n');
    assert.equal(code, 1);
    assert.equal(stdout, '');
  });

  test('nobody there is told, and ends with 3', async () => {
    const { code, stderr } = await runCli(['events', `order/${ROOT}`, '--address', 'unix:/nowhere/daybook.sock']);
    assert.match(stderr, /^no Daybook answers at unix:\/nowhere\/daybook\.sock: is it running\?.*\n$/);
    assert.equal(code, 3);
  });

  test('the address comes from the configuration', async () => {
    const { code } = await runCli(['events', `order/${ROOT}`], { env: { DAYBOOK__LISTEN__ADDRESS: address } });
    assert.equal(code, 0);
    assert.equal(asked.length, 1);
    const port0 = await runCli(['events', `order/${ROOT}`], { env: { DAYBOOK__LISTEN__ADDRESS: '127.0.0.1:0' } });
    assert.match(port0.stderr, /--address/);
    assert.equal(port0.code, 2);
  });
});

describe('tail', () => {
  test('asks for what was said, and prints what comes', async () => {
    answer = (call) => {
      call.write({ books: [book(0, placed), book(1, placed)], position: 11, token: '' });
      call.write({ books: [], position: 12, token: '' });
      call.write({ books: [book(2, placed)], position: 13, token: '' });
      call.end();
    };
    const args = ['--domain', 'order', '--domain', 'stock', '--type', 'shop.v1.OrderPlaced', '--correlation-id', 'c-1'];
    const { code, stdout } = await runCli([
      'tail',
      '--address',
      address,
      ...args,
      '--from-position',
      '5',
      '--limit',
      '3',
    ]);
    assert.equal(code, 0);
    const lines = stdout.trimEnd().split('\n');
    assert.equal(lines.length, 4);
    assert.match(lines[0]!, /CORRELATION +PAYLOAD$/);
    assert.match(lines[1]!, / {2}c-1$/);
    assert.deepEqual(asked as ReadLogRequest[], [
      {
        start: { $case: 'afterPosition', value: 4 },
        tenant: '',
        allTenants: false,
        domains: ['order', 'stock'],
        types: ['shop.v1.OrderPlaced'],
        correlationId: 'c-1',
        follow: true,
        limit: 3,
      },
    ]);
  });

  test('trap 26: an empty filter is refused instead of widened', async () => {
    for (const option of ['--domain', '--type', '--correlation-id']) {
      const { code, stderr } = await runCli(['tail', '--address', address, option, '']);
      assert.match(stderr, new RegExp(`^${option}: expected`));
      assert.equal(code, 2);
    }
    assert.equal(asked.length, 0);
  });

  test('ends without a word when its reader is gone', async () => {
    answer = (call) => {
      const more = () => {
        while (!call.cancelled && call.write({ books: [book(0, placed)], position: 1, token: '' }));
        if (!call.cancelled) call.once('drain', more);
      };
      more();
    };
    const running = startCli(['tail', '--address', address]);
    await once(running.child.stdout!, 'data');
    running.child.stdout!.destroy();
    assert.equal(await running.ended, 0);
    assert.equal(running.stderr, '');
  });
});
