import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Window, type Windowed } from '../../src/model/window.ts';
import { seeded } from '../support/random.ts';

const thing = (first: number, last = first): Windowed => ({
  first,
  last,
  events: last - first + 1,
  bytes: 10,
  finished: false,
  assumed: false,
});

describe('what lies between cursor and scan', () => {
  test('the prefix ends before the first unfinished thing, or where was scanned', () => {
    const window = new Window<Windowed>(4);
    assert.deepEqual([window.prefix, window.scanned, window.events], [4, 4, 0]);
    const [a, b, c] = [thing(6), thing(8, 10), thing(12)];
    for (const each of [a, b, c]) window.add(each);
    window.scannedTo(20);
    assert.deepEqual([window.prefix, window.scanned, window.events, window.bytes], [5, 20, 5, 30]);
    window.finish(b);
    assert.deepEqual([window.prefix, window.events], [5, 5]);
    assert.equal(window.prefixWith([a]), 11);
    assert.equal(window.prefixWith([a, c]), 20);
    assert.equal(window.prefixWith([c]), 5);
    window.finish(a);
    assert.deepEqual([window.prefix, window.events, window.bytes], [11, 1, 10]);
    window.finish(c);
    assert.deepEqual([window.prefix, window.events, window.bytes], [20, 0, 0]);
    window.scannedTo(3);
    assert.equal(window.scanned, 20);
  });

  test('whatever the order of finishing, the prefix never goes back and never passes what is unfinished', () => {
    const random = seeded(17);
    const window = new Window<Windowed>(0);
    const open = new Set<Windowed>();
    let position = 0;
    let prefix = 0;
    for (let step = 0; step < 20_000; step++) {
      if (open.size < 200 && random() < 0.5) {
        const first = position + 1 + Math.floor(random() * 3);
        position = first + Math.floor(random() * 3);
        const added = thing(first, position);
        open.add(added);
        window.add(added);
      } else if (open.size > 0) {
        const chosen = [...open][Math.floor(random() * open.size)]!;
        open.delete(chosen);
        window.finish(chosen);
      }
      const [least] = [...open].map(({ first }) => first).sort((a, b) => a - b);
      assert.equal(window.prefix, least === undefined ? window.scanned : least - 1);
      assert(window.prefix >= prefix);
      prefix = window.prefix;
    }
    for (const each of open) window.finish(each);
    assert.deepEqual([window.events, window.bytes, window.prefix], [0, 0, position]);
  });
});
