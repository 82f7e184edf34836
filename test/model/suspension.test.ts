import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Suspension } from '../../src/model/suspension.ts';

const limits = { suspendAfterKeys: 3, suspendAfterKeysInAll: 10 };
const never = () => assert.fail('not asked');

describe('a common outage', () => {
  test('is assumed when so many keys are parked with no success between', () => {
    const suspension = new Suspension(limits);
    assert.equal(suspension.parked(1), false);
    assert.equal(suspension.parked(2), false);
    assert.equal(suspension.succeeded(never), false);
    assert.equal(suspension.parked(3), false);
    assert.equal(suspension.parked(4), false);
    assert.equal(suspension.parked(5), true);
    assert.equal(suspension.suspended, true);
    assert.equal(suspension.parked(6), false, 'it is suspended already');
  });

  test('is assumed when so many keys are parked in all', () => {
    const suspension = new Suspension(limits);
    assert.equal(suspension.parked(9), false);
    suspension.succeeded(() => 9);
    assert.equal(suspension.parked(10), true);
  });

  test('is over with the first success, and is not assumed again because of the same keys', () => {
    const suspension = new Suspension(limits);
    suspension.parked(12);
    assert.equal(suspension.suspended, true);
    assert.equal(
      suspension.succeeded(() => 12),
      true,
    );
    assert.equal(suspension.suspended, false);
    assert.equal(suspension.parked(13), false);
    assert.equal(
      suspension.succeeded(() => 13),
      false,
    );
    assert.equal(suspension.parked(14), false);
    suspension.succeeded(() => 14);
    assert.equal(suspension.parked(15), true, 'three more than were tolerated');
  });

  test('holds by the usual limit again when fewer are parked', () => {
    const suspension = new Suspension(limits);
    suspension.parked(12);
    suspension.succeeded(() => 12);
    suspension.succeeded(() => 4);
    assert.equal(suspension.parked(10), true);
  });
});
