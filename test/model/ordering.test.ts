import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { orderingKey, orderingOf, partitionOf, placeOf } from '../../src/model/ordering.ts';
import { correlationSlice, streamSlice } from '../../src/model/slice.ts';
import { newRoot } from '../support/books.ts';

const root = Uint8Array.from({ length: 16 }, (_, i) => i);
const cover = { tenant: 't', domain: 'order', root: { value: root }, correlationId: 'a/b c' };

describe('the order in which a subscription handles events', () => {
  test('is that of the stream, of the process, or of the log', () => {
    assert.equal(orderingOf('projector', false), 'stream');
    assert.equal(orderingOf('projector', true), 'log');
    assert.equal(orderingOf('saga', false), 'stream');
    assert.equal(orderingOf('process_manager', false), 'correlation');
  });

  test('keys are stored, so they never change, and lead back to where they come from', () => {
    const stream = orderingKey('stream', cover);
    assert.equal(stream, 't/order/000102030405060708090a0b0c0d0e0f');
    assert.deepEqual(placeOf('stream', stream), {
      ordering: 'stream',
      stream: { tenant: 't', domain: 'order', root },
    });
    const correlation = orderingKey('correlation', cover);
    assert.equal(correlation, 't/a/b c');
    assert.deepEqual(placeOf('correlation', correlation), {
      ordering: 'correlation',
      tenant: 't',
      correlationId: 'a/b c',
    });
    assert.equal(orderingKey('log', cover), '*');
    assert.deepEqual(placeOf('log', '*'), { ordering: 'log' });
    const empty = orderingKey('correlation', { ...cover, tenant: '', correlationId: '' });
    assert.deepEqual(placeOf('correlation', empty), { ordering: 'correlation', tenant: '', correlationId: '' });
  });

  test('partitions are ranges of slices: each has its share, and all of a key is in one', () => {
    const slice = streamSlice({ tenant: 't', domain: 'order', root });
    assert.equal(partitionOf('stream', cover, 1024), slice);
    assert.equal(partitionOf('stream', cover, 16), Math.floor(slice / 64));
    assert.equal(partitionOf('correlation', cover, 1024), correlationSlice('t', 'a/b c'));
    assert.equal(partitionOf('log', cover, 1), 0);
    const counts = Array<number>(16).fill(0);
    for (let i = 0; i < 16_000; i++) {
      counts[partitionOf('stream', { ...cover, root: { value: newRoot() } }, 16)]! += 1;
    }
    assert(Math.min(...counts) > 800 && Math.max(...counts) < 1200, String(counts));
  });

  test('test vectors of partitions: what other versions have leased must stay where it is', () => {
    const found = [2, 3, 16, 1024].map((partitions) => [
      partitionOf('stream', cover, partitions),
      partitionOf('correlation', cover, partitions),
    ]);
    assert.deepEqual(found, VECTORS);
  });
});

const VECTORS = [
  [1, 0],
  [2, 0],
  [11, 3],
  [765, 205],
];
