import assert from 'node:assert/strict';
import type { ServiceError } from '@grpc/grpc-js';
import { detailsOf } from './daemon.ts';

/** For assert.rejects: the error that a client in any language reads. */
export function failsWith(reason: string, metadata: Record<string, string> = {}, code?: number) {
  return (error: ServiceError) => {
    const details = detailsOf(error);
    assert.equal(details.reason, reason, error.message);
    assert.equal(details.domain, 'daybook');
    for (const [key, value] of Object.entries(metadata)) assert.equal(details.metadata[key], value, key);
    if (code !== undefined) assert.equal(error.code, code);
    return true;
  };
}
