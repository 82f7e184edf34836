import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { DaybookError } from '../../src/errors.ts';
import type { CommandBook } from '../../src/model/book.ts';
import {
  checkCommand,
  checkCorrelationId,
  checkMetadata,
  checkPayload,
  checkTenant,
  checkTime,
  commandBytes,
  METADATA_BYTES,
  streamOf,
  TYPE_NAME,
} from '../../src/model/validation.ts';
import { any, command, newRoot } from '../support/books.ts';

const LIMITS = { payloadBytes: 1024, pagesPerCommand: 3 };

/** The reason and the field of the refusal; `undefined`: accepted. Any other error is a defect. */
function refusal(check: () => unknown): { reason: string; field: unknown } | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (!(error instanceof DaybookError)) throw error;
    assert.match(error.message, /: (expected|not a time between|a NUL character is not allowed|only the first page)/);
    assert(error.message.startsWith(`${error.metadata.field}: `), error.message);
    return { reason: error.reason, field: error.metadata.field };
  }
}

function accepted(check: () => unknown): boolean {
  return refusal(check) === undefined;
}

function cover(parts: { domain?: string; root?: Uint8Array } = {}) {
  return { root: { value: parts.root ?? newRoot() }, domain: parts.domain ?? 'order', correlationId: '', tenant: '' };
}

/** Anything that JavaScript can hold, and what is nearly right. */
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 140 }),
  fc.string({ unit: 'binary-ascii', maxLength: 140 }),
  fc.stringMatching(/^[a-z][a-z0-9_-]{0,70}.?$/),
  fc.stringMatching(/^[!-~]{0,70}\n?$/),
);

/** Whether all characters lie between the two codes: said without the regular expressions of the code. */
function within(value: string, low: number, high: number): boolean {
  return [...value].every((c) => c.codePointAt(0)! >= low && c.codePointAt(0)! <= high);
}

describe('nothing outside the documented alphabets is accepted, and all within them is:', () => {
  test('domains', () => {
    const letters = 'abcdefghijklmnopqrstuvwxyz';
    fc.assert(
      fc.property(text, (domain) => {
        const good =
          domain.length >= 1 &&
          domain.length <= 64 &&
          letters.includes(domain[0]!) &&
          [...domain].every((c) => `${letters}0123456789_-`.includes(c));
        assert.equal(
          accepted(() => streamOf(cover({ domain }))),
          good,
        );
      }),
    );
  });

  test('tenants', () => {
    fc.assert(
      fc.property(text, (tenant) => {
        const good = tenant.length <= 64 && within(tenant, 0x21, 0x7e) && !tenant.includes('/');
        assert.equal(
          accepted(() => checkTenant(tenant)),
          good,
        );
      }),
      { examples: [['a/b'], ['a b'], ['']] },
    );
  });

  test('correlation ids and idempotency keys', () => {
    fc.assert(
      fc.property(text, (id) => {
        const good = id.length <= 128 && within(id, 0x20, 0x7e);
        assert.equal(
          accepted(() => checkCorrelationId(id)),
          good,
        );
        assert.equal(
          accepted(() => checkCommand(command(newRoot(), any('Deposit'), { key: id }), LIMITS)),
          good,
        );
      }),
    );
  });

  test('type URLs', () => {
    fc.assert(
      fc.property(text, fc.boolean(), (end, withPrefix) => {
        const typeUrl = withPrefix ? `type.test/${end}` : end;
        const good =
          typeUrl.length <= 512 && within(typeUrl, 0x21, 0x7e) && typeUrl.includes('/') && !typeUrl.endsWith('/');
        assert.equal(
          accepted(() => checkPayload({ typeUrl, value: new Uint8Array() }, 'x', 1)),
          good,
          typeUrl,
        );
      }),
    );
  });

  test('metadata', () => {
    fc.assert(
      fc.property(fc.dictionary(text, text), (metadata) => {
        const all = Object.entries(metadata).flat();
        const size = all.reduce((sum, part) => sum + Buffer.byteLength(part), 0);
        const good = size <= METADATA_BYTES && !all.some((part) => part.includes('\0'));
        assert.equal(
          accepted(() => checkMetadata(metadata, 'metadata')),
          good,
        );
      }),
    );
  });
});

test('roots have 16 bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (root) => {
      assert.equal(
        accepted(() => streamOf(cover({ root }))),
        root.length === 16,
      );
    }),
  );
  const none = { ...cover(), root: undefined };
  assert.deepEqual(
    refusal(() => streamOf(undefined)),
    { reason: 'INVALID_ARGUMENT', field: 'cover' },
  );
  assert.deepEqual(
    refusal(() => streamOf(none)),
    { reason: 'INVALID_ARGUMENT', field: 'cover.root' },
  );
});

test('each fault of a command names its field', () => {
  const book = (): CommandBook => command(newRoot(), [any('Deposit', '1'), any('Deposit', '2')]);
  const [first, second] = [any('Deposit', '1'), any('Deposit', '2')];
  const cases: [change: Partial<CommandBook>, reason: string, field: string][] = [
    [{ cover: undefined }, 'INVALID_ARGUMENT', 'cover'],
    [{ cover: { ...cover(), tenant: 'a/b' } }, 'INVALID_ARGUMENT', 'cover.tenant'],
    [{ cover: { ...cover(), correlationId: '\n' } }, 'INVALID_ARGUMENT', 'cover.correlation_id'],
    [{ pages: [] }, 'INVALID_ARGUMENT', 'pages'],
    [{ pages: Array(4).fill({ command: first }) }, 'INVALID_ARGUMENT', 'pages'],
    [{ pages: [{ command: first }, { command: undefined }] }, 'INVALID_ARGUMENT', 'pages[1].command'],
    [{ pages: [{ command: first }, { command: second, sequence: 1 }] }, 'INVALID_ARGUMENT', 'pages[1].sequence'],
    [{ pages: [{ command: { ...first, typeUrl: 'x' } }] }, 'INVALID_ARGUMENT', 'pages[0].command.type_url'],
    [{ pages: [{ command: { ...first, value: new Uint8Array(1025) } }] }, 'TOO_LARGE', 'pages[0].command'],
    [{ metadata: { a: '\0' } }, 'INVALID_ARGUMENT', 'metadata'],
    [{ metadata: { a: 'x'.repeat(METADATA_BYTES) } }, 'TOO_LARGE', 'metadata'],
    [{ idempotencyKey: 'ü' }, 'INVALID_ARGUMENT', 'idempotency_key'],
  ];
  for (const [change, reason, field] of cases) {
    assert.deepEqual(
      refusal(() => checkCommand({ ...book(), ...change }, LIMITS)),
      { reason, field },
    );
  }
  const good = book();
  good.pages[0]!.sequence = 0;
  assert.deepEqual(checkCommand(good, LIMITS), { tenant: '', domain: 'account', root: good.cover!.root!.value });
});

test('names of types in filters are whole names', () => {
  for (const good of ['a', '!', '+', '-', '.', '0', '~', 'shop.v1.OrderPlaced', 'x'.repeat(512)]) {
    assert(TYPE_NAME.test(good), good);
  }
  for (const bad of ['', ' ', 'a b', 'a,b', ',', 'a/b', 'ü', '\x7f', 'a\n', '\na', 'x'.repeat(513)]) {
    assert(!TYPE_NAME.test(bad), JSON.stringify(bad));
  }
});

test('times lie between 1717 and 2223, with nanoseconds of one second', () => {
  const ok = (seconds: number, nanos: number) => accepted(() => checkTime({ seconds, nanos }, 'facts.occurred_at'));
  assert(accepted(() => checkTime(undefined, 'facts.occurred_at')));
  assert(ok(0, 0) && ok(7_999_999_999, 999_999_999) && ok(-7_999_999_999, 0));
  assert(!ok(8e9, 0) && !ok(-8e9, 0) && !ok(0, -1) && !ok(0, 1e9));
  assert.deepEqual(
    refusal(() => checkTime({ seconds: 8e9, nanos: 0 }, 'facts.occurred_at')),
    { reason: 'INVALID_ARGUMENT', field: 'facts.occurred_at' },
  );
});

test('a type URL may have 512 characters', () => {
  const ofLength = (length: number) => ({ typeUrl: `t/${'x'.repeat(length - 2)}`, value: new Uint8Array() });
  assert(accepted(() => checkPayload(ofLength(512), 'x', 1)));
  assert.deepEqual(
    refusal(() => checkPayload(ofLength(513), 'x', 1)),
    { reason: 'INVALID_ARGUMENT', field: 'x.type_url' },
  );
});

test('a payload and metadata may be as large as the limit', () => {
  const payload = any('Deposit', 'x'.repeat(1024));
  assert(accepted(() => checkPayload(payload, 'x', 1024)));
  assert(!accepted(() => checkPayload(payload, 'x', 1023)));
  assert(accepted(() => checkMetadata({ a: 'x'.repeat(METADATA_BYTES - 1) }, 'metadata')));
  assert(!accepted(() => checkMetadata({ a: 'ü'.repeat(METADATA_BYTES / 2) }, 'metadata')));
  assert(!accepted(() => checkMetadata({ '\0': '' }, 'metadata')));
});

test('what was found is quoted, and cut when it is long', () => {
  const sentenceOf = (check: () => unknown) => {
    try {
      check();
    } catch (error) {
      return (error as Error).message;
    }
    return '';
  };
  const domainSentence = (domain: string) => sentenceOf(() => streamOf(cover({ domain })));
  assert.match(domainSentence(''), /found nothing$/);
  assert.match(domainSentence('A "b"'), /found "A \\"b\\""$/);
  assert.match(domainSentence('A'.repeat(80)), /found "A{80}"$/);
  assert.match(domainSentence('A'.repeat(81)), /found "A{80}…"$/);
  assert.match(
    sentenceOf(() => streamOf(cover({ root: new Uint8Array(3) }))),
    /cover\.root: expected a UUID of 16 bytes, found 3 bytes/,
  );
});

test('a command costs its pages and its metadata', () => {
  const [first, second] = [any('Deposit', '1'), any('Deposit', '22')];
  const one = commandBytes(command(newRoot(), first));
  assert.equal(one, 64 + 1 + first.typeUrl.length);
  assert.equal(commandBytes(command(newRoot(), [first, second])), one + 64 + 2 + second.typeUrl.length);
  assert.equal(commandBytes({ ...command(newRoot(), first), metadata: { a: 'b' } }), one + 6);
});
