// What the tests of the shop share.

import assert from 'node:assert/strict';
import { type Any, pack, Rejection, RejectionNotification } from '@daybook/client';

export function refuses(decision: () => unknown, code: string, kind = 'conflict'): void {
  assert.throws(decision, (error) => {
    assert.ok(error instanceof Rejection);
    assert.deepEqual([error.code, error.kind], [code, kind]);
    return true;
  });
}

/** What a saga's aggregate gets when a command of the saga was rejected. */
export function rejected(code: string, message: string): Any {
  return pack(RejectionNotification, notification(code, message));
}

export function notification(code: string, message: string): RejectionNotification {
  return {
    command: { cover: undefined, pages: [], origin: undefined, idempotencyKey: '', metadata: {}, workId: '' },
    rejection: { kind: 2, code, message, details: undefined, page: 0 },
    component: 'fulfilment',
    source: undefined,
    sourceSequence: 0,
    sourcePosition: 0,
  };
}
