import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DaybookError } from '../../src/errors.ts';
import { type EventPage, NO_ORIGIN } from '../../src/model/book.ts';
import { checkFacts, factKey } from '../../src/model/fact.ts';
import { any, eventBook, eventPage } from '../support/books.ts';

const LIMITS = { payloadBytes: 1024, pagesPerCommand: 3 };
const root = new Uint8Array(16).fill(0xab);
const cover = { root: { value: root }, domain: 'payment', correlationId: 'c', tenant: 'acme' };

function fact(externalId: string, change: Partial<EventPage> = {}, externalSource = 'bank'): EventPage {
  return { ...eventPage(any('Paid', '1')), origin: { ...NO_ORIGIN, externalSource, externalId }, ...change };
}

function book(...pages: EventPage[]) {
  return { ...eventBook([]), cover, pages };
}

/** Reason, field and sentence of the refusal. */
function refusal(facts: ReturnType<typeof book> | undefined): [reason: string, field: unknown, sentence: string] {
  try {
    checkFacts(facts, LIMITS);
  } catch (error) {
    assert(error instanceof DaybookError, String(error));
    return [error.reason, error.metadata.field, error.message];
  }
  throw new Error('nothing was refused');
}

describe('facts', () => {
  test('are for the stream of their cover', () => {
    const most = book(fact('1'), fact('2'), fact('3'));
    assert.deepEqual(checkFacts(most, LIMITS), { tenant: 'acme', domain: 'payment', root });
  });

  test('are known by stream, source and id', () => {
    const stream = { tenant: 'acme', domain: 'payment', root };
    assert.equal(factKey(stream, 'bank', 'a/b'), `payment/${'ab'.repeat(16)}/bank/a/b`);
  });

  test('name what is wrong with them', () => {
    const cases: [facts: ReturnType<typeof book> | undefined, field: string, sentence: RegExp][] = [
      [undefined, 'facts', /expected a book, found none/],
      [{ ...book(fact('1')), cover: { ...cover, domain: '' } }, 'facts.cover.domain', /found nothing/],
      [
        { ...book(fact('1')), cover: { ...cover, correlationId: 'ü' } },
        'facts.cover.correlation_id',
        /printable ASCII characters, found "ü"/,
      ],
      [book(), 'facts.pages', /expected 1 to 3 pages, found 0/],
      [book(...['1', '2', '3', '4'].map((id) => fact(id))), 'facts.pages', /expected 1 to 3 pages, found 4/],
      [book(fact('1'), fact('2'), fact('1')), 'facts.pages', /the same external source and id is there twice/],
      [book(fact('1'), fact('2', { event: undefined })), 'facts.pages[1].event', /found none/],
      [book(fact('1', { metadata: { a: '\0' } })), 'facts.pages[0].metadata', /NUL/],
      [
        book(fact('1', { occurredAt: { seconds: 1, nanos: -1 } })),
        'facts.pages[0].occurred_at',
        /not a time between 1717 and 2223/,
      ],
    ];
    for (const [facts, field, sentence] of cases) {
      const [reason, found, message] = refusal(facts);
      assert.deepEqual([reason, found], ['INVALID_ARGUMENT', field]);
      assert.match(message, sentence);
      assert(message.startsWith(field), message);
    }
    const large = book(fact('1', { event: any('Paid', 'x'.repeat(1025)) }));
    assert.deepEqual(refusal(large).slice(0, 2), ['TOO_LARGE', 'facts.pages[0].event']);
  });

  test('need a source of 1 to 64 printable characters without space and slash', () => {
    for (const good of ['x', '!', '~', '.', '0', 'x'.repeat(64)]) checkFacts(book(fact('1', {}, good)), LIMITS);
    for (const bad of ['', ' ', 'a/b', 'a b', 'ü', '\x7f', 'x\n', 'x'.repeat(65)]) {
      const [reason, field, message] = refusal(book(fact('1', {}, bad)));
      assert.deepEqual([reason, field], ['INVALID_ARGUMENT', 'facts.pages[0].origin.external_source']);
      assert.match(message, /^facts\.pages\[0\]\.origin\.external_source: expected 1 to 64 printable/);
    }
    assert.equal(refusal(book(fact('1', { origin: undefined })))[1], 'facts.pages[0].origin.external_source');
  });

  test('need an id of 1 to 256 printable characters', () => {
    for (const good of ['x', ' ', '~', 'a/b', 'x'.repeat(256)]) checkFacts(book(fact(good)), LIMITS);
    for (const bad of ['', 'ü', '\x7f', 'x\n', '\nx', 'x'.repeat(257)]) {
      const [reason, field, message] = refusal(book(fact(bad)));
      assert.deepEqual([reason, field], ['INVALID_ARGUMENT', 'facts.pages[0].origin.external_id']);
      assert.match(message, /^facts\.pages\[0\]\.origin\.external_id: expected 1 to 256 printable/);
    }
  });
});
