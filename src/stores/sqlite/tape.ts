// What travels between the daemon's thread and a worker. A message is a tape of three tracks, read in the order in which
// it was written: numbers, texts, and bytes.
//
// Why not plain objects: cloning a view copies the whole buffer behind it, and payloads are small views into the large
// frames of gRPC; and cloning a thousand small objects costs more than storing them. Here all bytes lie in a few chunks that
// are handed over without a copy. A chunk is at most 64 KiB unless one item is larger, so that a page that somebody
// keeps pins little else.

const FIRST_CHUNK_BYTES = 1024;
const LAST_CHUNK_BYTES = 64 * 1024;
const EMPTY = new Uint8Array(0);

export interface Tape {
  numbers: Float64Array<ArrayBuffer>;
  texts: string[];
  chunks: Uint8Array<ArrayBuffer>[];
}

export class TapeWriter {
  readonly #numbers: number[] = [];
  readonly #texts: string[] = [];
  readonly #words = new Map<string, number>();
  readonly #chunks: Uint8Array<ArrayBuffer>[] = [];
  #chunk: Uint8Array = EMPTY;
  #used = 0;

  number(value: number): void {
    this.#numbers.push(value);
  }

  /** `undefined` travels as NaN. */
  maybe(value: number | undefined): void {
    this.#numbers.push(value ?? Number.NaN);
  }

  text(value: string): void {
    this.#numbers.push(this.#texts.push(value) - 1);
  }

  /** A text that comes often: a domain, a type URL. It travels once. */
  word(value: string): void {
    let index = this.#words.get(value);
    if (index === undefined) {
      index = this.#texts.push(value) - 1;
      this.#words.set(value, index);
    }
    this.#numbers.push(index);
  }

  bytes(value: Uint8Array): void {
    this.#numbers.push(value.length);
    if (value.length > this.#chunk.length - this.#used) {
      const usual = Math.min(LAST_CHUNK_BYTES, FIRST_CHUNK_BYTES << Math.min(2 * this.#chunks.length, 6));
      const chunk = new Uint8Array(Math.max(usual, value.length));
      this.#chunks.push(chunk);
      this.#chunk = chunk;
      this.#used = 0;
    }
    this.#chunk.set(value, this.#used);
    this.#used += value.length;
  }

  /** The tape, and what to hand over with it. */
  finish(): { tape: Tape; transfer: ArrayBuffer[] } {
    const numbers = Float64Array.from(this.#numbers);
    const tape = { numbers, texts: this.#texts, chunks: this.#chunks };
    return { tape, transfer: [numbers.buffer, ...this.#chunks.map((chunk) => chunk.buffer)] };
  }
}

export class TapeReader {
  readonly #tape: Tape;
  #number = 0;
  #chunk = -1;
  #used = 0;

  constructor(tape: Tape) {
    this.#tape = tape;
  }

  number(): number {
    return this.#tape.numbers[this.#number++]!;
  }

  maybe(): number | undefined {
    const value = this.number();
    return Number.isNaN(value) ? undefined : value;
  }

  /** Also for words. */
  text(): string {
    return this.#tape.texts[this.number()]!;
  }

  /** A view into a chunk. */
  bytes(): Uint8Array {
    const length = this.number();
    if (length === 0) return EMPTY;
    // The writer began a new chunk whenever an item did not fit; so does the reader.
    if (this.#chunk < 0 || length > this.#tape.chunks[this.#chunk]!.length - this.#used) {
      this.#chunk++;
      this.#used = 0;
    }
    const chunk = this.#tape.chunks[this.#chunk]!;
    this.#used += length;
    return chunk.subarray(this.#used - length, this.#used);
  }
}
