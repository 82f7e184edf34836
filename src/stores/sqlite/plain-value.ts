// A value of plain objects, arrays, texts, numbers, booleans and bytes on a tape, as it is. For everything that is not on the way of
// a command: the names of fields travel with each object, which takes longer than what codec.ts does, and needs no code
// per type.

import type { TapeReader, TapeWriter } from './tape.ts';

const UNDEFINED = 0;
const FALSE = 1;
const TRUE = 2;
const NUMBER = 3;
const TEXT = 4;
const BYTES = 5;
const ARRAY = 6;
const OBJECT = 7;

export function writeValue(tape: TapeWriter, value: unknown): void {
  if (value === undefined) tape.number(UNDEFINED);
  else if (typeof value === 'boolean') tape.number(value ? TRUE : FALSE);
  else if (typeof value === 'number') {
    tape.number(NUMBER);
    tape.number(value);
  } else if (typeof value === 'string') {
    tape.number(TEXT);
    tape.text(value);
  } else if (value instanceof Uint8Array) {
    tape.number(BYTES);
    tape.bytes(value);
  } else if (Array.isArray(value)) {
    tape.number(ARRAY);
    tape.number(value.length);
    for (const item of value) writeValue(tape, item);
  } else {
    tape.number(OBJECT);
    const names = Object.keys(value as object);
    // Objects of a kind have the same names, which so travel once.
    tape.word(names.join());
    for (const name of names) writeValue(tape, (value as Record<string, unknown>)[name]);
  }
}

export function readValue(tape: TapeReader): unknown {
  switch (tape.number()) {
    case FALSE:
      return false;
    case TRUE:
      return true;
    case NUMBER:
      return tape.number();
    case TEXT:
      return tape.text();
    case BYTES:
      return tape.bytes();
    case ARRAY:
      return Array.from({ length: tape.number() }, () => readValue(tape));
    case OBJECT: {
      const names = tape.text();
      const object: Record<string, unknown> = {};
      if (names !== '') for (const name of names.split(',')) object[name] = readValue(tape);
      return object;
    }
    default:
      return undefined;
  }
}
