// Slices are stored for ever, and other programs may compute them: these numbers must never change.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { correlationSlice, SLICES, streamSlice } from '../../src/model/slice.ts';

test('the published vectors of streams', () => {
  const vectors: [tenant: string, domain: string, root: string, slice: number][] = [
    ['', 'order', '00000000000000000000000000000000', 825],
    ['', 'order', '0190163d8694739baea5966c26f8ad91', 224],
    ['acme', 'order', '0190163d8694739baea5966c26f8ad91', 95],
    ['acme', 'inventory-2', 'ffffffffffffffffffffffffffffffff', 43],
  ];
  for (const [tenant, domain, hex, slice] of vectors) {
    const root = new Uint8Array(Buffer.from(hex, 'hex'));
    assert.equal(streamSlice({ tenant, domain, root }), slice, `${tenant}/${domain}/${hex}`);
  }
});

test('the published vectors of correlations', () => {
  const vectors: [tenant: string, correlationId: string, slice: number][] = [
    ['', '', 873],
    ['', 'c', 269],
    ['', '0190163d-8694-739b-aea5-966c26f8ad91', 181],
    ['acme', 'order 1001', 245],
  ];
  for (const [tenant, id, slice] of vectors) assert.equal(correlationSlice(tenant, id), slice, `${tenant}/${id}`);
});

test('they are CRC-32 over parts with their lengths, modulo 1,024', () => {
  const length = (part: Uint8Array) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(part.length);
    return bytes;
  };
  const expected = (...parts: (string | Uint8Array)[]) =>
    crc32(Buffer.concat(parts.map((part) => Buffer.from(part)).flatMap((part) => [length(part), part]))) % SLICES;
  const ascii = fc.string({ maxLength: 300, unit: 'binary-ascii' });
  fc.assert(
    fc.property(ascii, ascii, fc.uint8Array({ maxLength: 300 }), (tenant, other, root) => {
      assert.equal(streamSlice({ tenant, domain: other, root }), expected(tenant, other, root));
      assert.equal(correlationSlice(tenant, other), expected(tenant, other));
    }),
  );
});

test('streams are spread over all slices', () => {
  const seen = new Set<number>();
  for (let n = 0; n < 20_000; n++) {
    const root = new Uint8Array(16);
    new DataView(root.buffer).setUint32(12, n);
    seen.add(streamSlice({ tenant: '', domain: 'order', root }));
  }
  assert.equal(seen.size, SLICES);
});
