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
  METADATA_BYTES,
  streamOf,
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
    assert.match(error.message, /expected|not allowed|only the first page/);
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
        const size = all.reduce((sum, part) => sum + part.length, 0);
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
