// The causal tree, over books and rejections as they will look with reactions.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { causalTree, type Decision } from '../../src/cli/causes.ts';
import type { RecordedRejection } from '../../src/gen/daybook/v1/query.ts';
import { type Cover, type EventBook, NO_ORIGIN, type Origin } from '../../src/model/book.ts';

const cover = (domain: string, root = 1): Cover => ({
  domain,
  root: { value: new Uint8Array(16).fill(root) },
  correlationId: 'c',
  tenant: '',
});

let position = 0;

/** One unit's events of one aggregate. */
function book(unit: number, of: Cover, first: number, types: string[], origin: Partial<Origin> = {}): EventBook {
  const pages = types.map((type, i) => ({
    sequence: first + i,
    createdAt: { seconds: 1000 + unit, nanos: 0 },
    event: { typeUrl: `x/${type}`, value: new Uint8Array() },
    position: ++position,
    origin: { ...NO_ORIGIN, ...origin },
    metadata: {},
    unitId: new Uint8Array(16).fill(unit),
    occurredAt: undefined,
  }));
  return { cover: of, snapshot: undefined, pages, nextSequence: first + types.length, consistencyToken: '' };
}

function rejection(of: Cover, code: string, at: number, origin?: Partial<Origin>): RecordedRejection {
  return {
    cover: of,
    rejection: { kind: 2, code, message: '', details: undefined, page: 0 },
    idempotencyKey: 'k',
    origin: origin && { ...NO_ORIGIN, ...origin },
    commands: ['Reserve'],
    decidedAt: { seconds: 2000, nanos: 0 },
    position: at,
  };
}

/** `Command by component [event effects…]`, as nested lists. */
function outline(decisions: Decision[]): unknown[][] {
  return decisions.map(({ commands, origin, orphan, rejection, events }) => {
    const by = origin?.component ? ` by ${origin.component}` : '';
    const head = `${orphan ? '? ' : ''}${commands.join('+')}${by}${rejection ? ` ✗${rejection.code}` : ''}`;
    return [head, ...events.map(({ page, effects }) => [page.event!.typeUrl.slice(2), ...outline(effects)])];
  });
}

test('reactions hang below the event that caused them, in the order of their component', () => {
  position = 0;
  const order = cover('order');
  const by = (component: string, sourceSequence: number, index = 0) => ({
    component,
    source: order,
    sourceSequence,
    index,
  });
  const books = [
    book(1, order, 0, ['Placed', 'Priced'], { commands: ['Place', 'Price'] }),
    // Written in another order than it was sent.
    book(3, cover('stock', 3), 0, ['Reserved'], { ...by('fulfil', 0, 1), commands: ['Reserve'] }),
    book(2, cover('stock', 2), 0, ['Reserved'], { ...by('fulfil', 0, 0), commands: ['Reserve'] }),
    book(4, cover('mail'), 0, ['Sent'], { component: 'mailer', source: cover('stock', 2), commands: ['Send'] }),
  ];
  const tree = causalTree(books, [rejection(cover('stock', 4), 'NONE_LEFT', 2, by('fulfil', 1))]);
  assert.deepEqual(outline(tree), [
    [
      'Place+Price',
      [
        'Placed',
        ['Reserve by fulfil', ['Reserved', ['Send by mailer', ['Sent']]]],
        ['Reserve by fulfil', ['Reserved']],
      ],
      ['Priced', ['Reserve by fulfil ✗NONE_LEFT']],
    ],
  ]);
});

test('a unit over several aggregates is one decision', () => {
  const [decision, ...others] = causalTree(
    [book(1, cover('process'), 0, ['Began']), book(1, cover('order'), 3, ['Noted'])],
    [],
  );
  assert.equal(others.length, 0);
  assert.deepEqual(
    decision!.events.map((event) => event.cover.domain),
    ['process', 'order'],
  );
});

test('facts have no cause; what follows an event that is not there is an orphan', () => {
  position = 0;
  const fact = book(1, cover('payment'), 0, ['Paid'], { externalSource: 'bank', externalId: '7' });
  const orphan = book(2, cover('order'), 5, ['Settled'], {
    component: 'pay',
    source: cover('order', 9),
    commands: ['Settle'],
  });
  assert.deepEqual(outline(causalTree([fact, orphan], [])), [
    ['', ['Paid']],
    ['? Settle by pay', ['Settled']],
  ]);
});

test('rejections come after what was there when they were decided', () => {
  position = 0;
  const books = [
    book(1, cover('order'), 0, ['A'], { commands: ['Do'] }),
    book(2, cover('order'), 1, ['B'], { commands: ['Do'] }),
  ];
  const tree = causalTree(books, [rejection(cover('order'), 'NO', 1), rejection(cover('order'), 'NOT_YET', 0)]);
  assert.deepEqual(
    outline(tree).map(([head]) => head as string),
    ['Reserve ✗NOT_YET', 'Do', 'Reserve ✗NO', 'Do'],
  );
});

test('whatever the origins say, everything is shown once', () => {
  const link = fc.record({ root: fc.integer({ min: 0, max: 12 }), sequence: fc.integer({ min: 0, max: 2 }) });
  fc.assert(
    fc.property(fc.array(fc.option(link, { nil: undefined }), { maxLength: 12 }), (links) => {
      position = 0;
      const origins = links.map((each) => ({
        component: 'c',
        source: each && cover('order', each.root),
        sourceSequence: each?.sequence ?? 0,
      }));
      const books = origins.map((origin, i) => book(i + 1, cover('order', i), 0, ['A', 'B'], origin));
      const seen: number[] = [];
      const visit = (decisions: Decision[]): void => {
        for (const { events } of decisions) {
          for (const { page, effects } of events) {
            seen.push(page.position);
            visit(effects);
          }
        }
      };
      visit(causalTree(books, []));
      assert.deepEqual(
        seen.sort((a, b) => a - b),
        Array.from({ length: links.length * 2 }, (_, i) => i + 1),
      );
    }),
  );
});
