import assert from 'node:assert/strict';
import { test } from 'node:test';
import { alternate, median, spread } from '../../bench/lib/figures.ts';
import { lineOf, table } from '../../bench/lib/row.ts';
import { eachResult, Frames, PAYLOAD_BYTES, rootBytes, UnaryCommands } from '../../bench/load/messages.ts';
import { encode } from '../../src/encode.ts';
import { PipelinedCommands, PipelinedResults } from '../../src/gen/daybook/v1/gateway.ts';
import { CommandBook } from '../../src/gen/daybook/v1/types.ts';

test('prepared commands are what they are taken for: each with its id, its aggregate and a key of its own', () => {
  const frame = PipelinedCommands.decode(new Frames(250).make(300, [7, 70_000]));
  const [first, second] = frame.commands;
  assert.deepEqual([first!.id, second!.id, first!.timeoutMs], [300, 301, 250]);
  const roots = frame.commands.map(({ command }) => Buffer.from(command!.cover!.root!.value));
  assert.deepEqual(roots, [Buffer.from(rootBytes(7)), Buffer.from(rootBytes(70_000))]);
  const unary = CommandBook.decode(new UnaryCommands().make(7));
  const keys = [...frame.commands.map(({ command }) => command!.idempotencyKey), unary.idempotencyKey];
  assert.equal(new Set(keys).size, 3);
  for (const key of keys) assert.match(key, /^[0-9a-f]{24}-[0-9a-f]{11}$/);
  assert.equal(unary.pages[0]!.command!.value.length, PAYLOAD_BYTES);
});

test('of results, id and reason are read', () => {
  const error = {
    code: 8,
    reason: 'OVERLOADED',
    message: 'm',
    metadata: {},
    retryDelay: undefined,
    rejection: undefined,
  };
  const response = {
    events: undefined,
    projections: [],
    reactionErrors: [],
    position: 9,
    duplicate: false,
    settled: true,
    consistencyToken: 't'.repeat(300),
  };
  const results = [
    { id: 5, result: { $case: 'response' as const, value: response } },
    { id: 70_000, result: { $case: 'error' as const, value: error } },
  ];
  const seen: [number, string | undefined][] = [];
  eachResult(Buffer.from(encode(PipelinedResults, { results })), (id, reason) => seen.push([id, reason]));
  assert.deepEqual(seen, [
    [5, undefined],
    [70_000, 'OVERLOADED'],
  ]);
});

test('sides take turns, ratios are of each round, and a row says whether it reaches its target', async () => {
  const order: string[] = [];
  let round = 0;
  const side = (name: string, figures: number[]) => async () => {
    order.push(name);
    return figures[name === 'b' ? round++ : round]!;
  };
  const { a, b } = await alternate(3, { a: side('a', [10, 40, 90]), b: side('b', [10, 20, 30]) });
  assert.equal(order.join(''), 'ababab');
  assert.equal(median(a), 40);
  assert.equal(spread(a), '40.0 (10.0–90.0)');
  const row = { id: 'P0', what: 'this', measure: async () => [] };
  const measured = { ours: a, unit: '/s', yardstick: { name: 'that', series: b }, notes: ['a note'] };
  const line = lineOf(row, { ...measured, target: { kind: 'at-least', value: 3 } });
  assert.deepEqual([line.ratio, line.met], [[1, 2, 3], false]);
  assert.match(
    table([line]),
    /\| P0 \| this \| 40\.0 \(10\.0–90\.0\) \/s \| that: .* \| 2\.00 .* \| ≥ 3 \| \*\*not met\*\* \|/,
  );
  assert.match(table([line]), /- P0: a note$/);
  assert.equal(lineOf(row, { ...measured, target: { kind: 'at-most', value: 2 } }).met, true);
});
