// Arrays as PostgreSQL sends and receives them in binary: bytes travel as bytes, and nothing is quoted. The driver sends a Buffer as it
// is and says that it is binary. An array without a value in it is NULL: that costs neither side anything.

const INT2 = 21;
const INT4 = 23;
const INT8 = 20;
const TEXT = 25;
const BYTEA = 17;
const UUID = 2950;

/** Rounds down, also below zero. */
function high(value: number): number {
  return Math.floor(value / 0x1_0000_0000);
}

export function int2s(values: readonly number[]): Buffer | null {
  return fixed(INT2, 2, values, (buffer, value, at) => buffer.writeInt16BE(value, at));
}

export function int4s(values: readonly number[]): Buffer | null {
  return fixed(INT4, 4, values, (buffer, value, at) => buffer.writeInt32BE(value, at));
}

/** `undefined` becomes NULL. */
export function int8s(values: readonly (number | undefined)[]): Buffer | null {
  let bytes = 0;
  for (const value of values) if (value !== undefined) bytes += 8;
  if (bytes === 0) return null;
  const buffer = header(INT8, values.length, bytes, bytes < values.length * 8);
  let at = HEADER_BYTES;
  for (const value of values) {
    if (value === undefined) {
      at = buffer.writeInt32BE(-1, at);
      continue;
    }
    at = buffer.writeInt32BE(8, at);
    at = buffer.writeInt32BE(high(value), at);
    at = buffer.writeUInt32BE(value - high(value) * 0x1_0000_0000, at);
  }
  return buffer;
}

export function uuids(values: readonly Uint8Array[]): Buffer | null {
  return bytesOf(UUID, values);
}

/** `undefined` becomes NULL. */
export function byteas(values: readonly (Uint8Array | undefined)[]): Buffer | null {
  return bytesOf(BYTEA, values);
}

/** `undefined` becomes NULL. */
export function texts(values: readonly (string | undefined)[]): Buffer | null {
  let bytes = 0;
  let nulls = 0;
  for (const value of values) {
    if (value === undefined) nulls++;
    else bytes += Buffer.byteLength(value);
  }
  if (nulls === values.length) return null;
  const buffer = header(TEXT, values.length, bytes, nulls > 0);
  let at = HEADER_BYTES;
  for (const value of values) {
    if (value === undefined) {
      at = buffer.writeInt32BE(-1, at);
      continue;
    }
    const written = buffer.write(value, at + 4);
    buffer.writeInt32BE(written, at);
    at += 4 + written;
  }
  return buffer;
}

const HEADER_BYTES = 20;

function header(type: number, length: number, bytes: number, nulls: boolean): Buffer {
  const buffer = Buffer.allocUnsafe(HEADER_BYTES + length * 4 + bytes);
  buffer.writeInt32BE(1, 0); // dimensions
  buffer.writeInt32BE(nulls ? 1 : 0, 4);
  buffer.writeInt32BE(type, 8);
  buffer.writeInt32BE(length, 12);
  buffer.writeInt32BE(1, 16); // the first number
  return buffer;
}

function fixed(
  type: number,
  size: number,
  values: readonly number[],
  write: (buffer: Buffer, value: number, at: number) => void,
): Buffer | null {
  if (values.length === 0) return null;
  const buffer = header(type, values.length, values.length * size, false);
  let at = HEADER_BYTES;
  for (const value of values) {
    buffer.writeInt32BE(size, at);
    write(buffer, value, at + 4);
    at += 4 + size;
  }
  return buffer;
}

function bytesOf(type: number, values: readonly (Uint8Array | undefined)[]): Buffer | null {
  let bytes = 0;
  let nulls = 0;
  for (const value of values) {
    if (value === undefined) nulls++;
    else bytes += value.length;
  }
  if (nulls === values.length) return null;
  const buffer = header(type, values.length, bytes, nulls > 0);
  let at = HEADER_BYTES;
  for (const value of values) {
    if (value === undefined) {
      at = buffer.writeInt32BE(-1, at);
      continue;
    }
    at = buffer.writeInt32BE(value.length, at);
    buffer.set(value, at);
    at += value.length;
  }
  return buffer;
}
