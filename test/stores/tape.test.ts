import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TapeReader, TapeWriter } from '../../src/stores/sqlite/tape.ts';

type Item = number | undefined | string | { word: string } | Uint8Array;

test('property: a tape is read as it was written', () => {
  const bytes = fc
    .oneof(fc.nat({ max: 40 }), fc.constantFrom(0, 24, 1000, 1023, 1024, 1025, 65_535, 65_536, 65_537, 200_000))
    .map((length) => new Uint8Array(length).fill(length));
  const number = fc.oneof(fc.maxSafeInteger(), fc.constant(undefined));
  const word = fc.constantFrom('', 'order', 'stock').map((word) => ({ word }));
  fc.assert(
    fc.property(fc.array(fc.oneof(number, fc.string(), word, bytes)), (items: Item[]) => {
      const writer = new TapeWriter();
      for (const item of items) {
        if (item instanceof Uint8Array) writer.bytes(item);
        else if (typeof item === 'string') writer.text(item);
        else if (typeof item === 'object') writer.word(item.word);
        else writer.maybe(item);
      }
      const { tape, transfer } = writer.finish();
      const reader = new TapeReader(structuredClone(tape, { transfer }));
      for (const item of items) {
        if (item instanceof Uint8Array) assert(Buffer.compare(reader.bytes(), item) === 0);
        else if (typeof item === 'string') assert.equal(reader.text(), item);
        else if (typeof item === 'object') assert.equal(reader.text(), item.word);
        else assert.equal(reader.maybe(), item);
      }
    }),
  );
});

test('a small view into a large frame travels alone, and what arrives pins little', () => {
  const frame = new Uint8Array(4 << 20);
  const writer = new TapeWriter();
  for (let i = 0; i < 5_000; i++) writer.bytes(frame.subarray(i, i + 100));
  const { tape, transfer } = writer.finish();
  const total = transfer.reduce((sum, buffer) => sum + buffer.byteLength, 0);
  assert(total < 800_000, `${total} bytes travel for 500,000`);
  const reader = new TapeReader(structuredClone(tape, { transfer }));
  for (let i = 0; i < 5_000; i++) assert(reader.bytes().buffer.byteLength <= 64 * 1024);
});

test('items that fill a chunk to its last byte', () => {
  const writer = new TapeWriter();
  const lengths = [1000, 24, 4000, 96, 1];
  for (const length of lengths) writer.bytes(new Uint8Array(length).fill(length));
  const { tape } = writer.finish();
  assert.deepEqual(
    tape.chunks.map((chunk) => chunk.length),
    [1024, 4096, 16_384],
  );
  const reader = new TapeReader(tape);
  for (const length of lengths) assert.deepEqual(reader.bytes(), new Uint8Array(length).fill(length));
});
