/** Memory that short values are cut from: an ArrayBuffer for each would cost more than reading it does. Nothing is written twice. */
export class Slab {
  #memory = Buffer.allocUnsafeSlow(BYTES);
  #used = 0;

  /** Longer ones have memory of their own. */
  static isFor(length: number): boolean {
    return length <= BYTES / 16;
  }

  /** What was taken last lies in it. */
  get memory(): Buffer<ArrayBuffer> {
    return this.#memory;
  }

  /** Where the value lies. */
  take(length: number): number {
    if (this.#used + length > BYTES) {
      this.#memory = Buffer.allocUnsafeSlow(BYTES);
      this.#used = 0;
    }
    this.#used += length;
    return this.#used - length;
  }
}

const BYTES = 64 * 1024;
