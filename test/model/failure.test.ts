import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DaybookError, type Reason } from '../../src/errors.ts';
import { afterFailure, counts, sentenceOf } from '../../src/model/failure.ts';

describe('a failed reaction', () => {
  test('counts when the event may be to blame, and does not when nobody judged it', () => {
    const counted: Reason[] = [
      'COMPONENT_FAULT',
      'COMPONENT_TIMEOUT',
      'HISTORY_TOO_LARGE',
      'UNKNOWN_DOMAIN',
      'INTERNAL',
    ];
    const not: Reason[] = [
      'COMPONENT_UNAVAILABLE',
      'OVERLOADED',
      'CONTENTION',
      'SHUTTING_DOWN',
      'STORE_UNAVAILABLE',
      'OUTCOME_UNKNOWN',
    ];
    for (const reason of counted) assert.equal(counts(new DaybookError(reason, '')), true, reason);
    for (const reason of not) assert.equal(counts(new DaybookError(reason, '')), false, reason);
  });

  test('is tried again with doubling delays, and is dead after the last attempt', () => {
    const schedule = { tries: 4, minMs: 200, maxMs: 500 };
    assert.deepEqual(
      [1, 2, 3, 4, 5].map((attempts) => afterFailure(schedule, attempts, 0)),
      [
        { state: 'retrying', delayMs: 200 },
        { state: 'retrying', delayMs: 400 },
        { state: 'retrying', delayMs: 500 },
        { state: 'dead' },
        { state: 'dead' },
      ],
    );
    assert.deepEqual(afterFailure({ tries: 1, minMs: 1, maxMs: 1 }, 1, 0), { state: 'dead' });
  });

  test('is told in a sentence that every store can hold', () => {
    const told = sentenceOf(new DaybookError('COMPONENT_FAULT', `a\0b${'x'.repeat(2000)}`));
    assert.equal(told.length, 1000);
    assert(told.startsWith('a bx'));
  });
});
