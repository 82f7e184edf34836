// Streams that are opened at the same time share a statement: what waits while the readers are busy goes with the next one.

import type { StreamKey } from '../../model/stream.ts';
import type { OpenStream, StreamOpening } from '../../store.ts';
import type { OpenOne } from './reads.ts';

/** Of one statement. */
const TOGETHER = 64;

interface Waiting extends OpenOne {
  resolve(opening: StreamOpening): void;
  reject(error: unknown): void;
}

export class Openings {
  readonly #read: (together: readonly OpenOne[]) => Promise<StreamOpening[]>;
  readonly #readers: number;
  #waiting: Waiting[] = [];
  #reading = 0;

  /** `read` answers in the order in which it was asked. At most so many are called at once. */
  constructor(readers: number, read: (together: readonly OpenOne[]) => Promise<StreamOpening[]>) {
    this.#readers = readers;
    this.#read = read;
  }

  open(stream: StreamKey, open: OpenStream): Promise<StreamOpening> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ stream, open, resolve, reject });
      if (this.#reading < this.#readers) void this.#pump();
    });
  }

  async #pump(): Promise<void> {
    this.#reading++;
    // What comes in the same frame is opened together.
    await undefined;
    while (this.#waiting.length > 0) {
      const together = this.#waiting.splice(0, TOGETHER);
      try {
        const opened = await this.#read(together);
        for (let i = 0; i < together.length; i++) together[i]!.resolve(opened[i]!);
      } catch (error) {
        for (const { reject } of together) reject(error);
      }
    }
    this.#reading--;
  }
}
