// Reads of single things that are asked for at the same time share a statement: what waits while the readers are busy goes with the next
// one. It never waits for company.

/** Of one statement. */
const TOGETHER = 64;

interface Waiting<Asked, Answer> {
  asked: Asked;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

export class Together<Asked, Answer> {
  readonly #read: (asked: readonly Asked[]) => Promise<readonly Answer[]>;
  readonly #readers: number;
  #waiting: Waiting<Asked, Answer>[] = [];
  #reading = 0;

  /** `read` answers in the order in which it was asked. At most so many are called at once. */
  constructor(readers: number, read: (asked: readonly Asked[]) => Promise<readonly Answer[]>) {
    this.#readers = readers;
    this.#read = read;
  }

  ask(asked: Asked): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ asked, resolve, reject });
      if (this.#reading < this.#readers) void this.#pump();
    });
  }

  async #pump(): Promise<void> {
    this.#reading++;
    // What comes in the same frame is read together.
    await undefined;
    while (this.#waiting.length > 0) {
      const together = this.#waiting.splice(0, TOGETHER);
      try {
        const answers = await this.#read(together.map(({ asked }) => asked));
        for (let i = 0; i < together.length; i++) together[i]!.resolve(answers[i]!);
      } catch (error) {
        for (const { reject } of together) reject(error);
      }
    }
    this.#reading--;
  }
}
