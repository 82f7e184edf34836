import { complain } from './output.ts';

/** How far an export or import is: a line that is written over on a terminal; elsewhere one line in ten seconds. */
export class TransferProgress {
  readonly #verb: string;
  readonly #begin = performance.now();
  readonly #tty = process.stderr.isTTY;
  #next = this.#begin + (this.#tty ? 0 : 10_000);

  constructor(verb: string) {
    this.#verb = verb;
  }

  /** `share` of the whole, from 0 to 1, if it is known. */
  show(events: number, share: number | undefined): void {
    const now = performance.now();
    if (now < this.#next) return;
    this.#next = now + (this.#tty ? 100 : 10_000);
    const percent = share === undefined ? '' : `, ${Math.floor(Math.min(share, 1) * 100)} %`;
    const line = `${this.#verb} ${events} events, ${this.rate(events)} a second${percent}`;
    if (this.#tty) process.stderr.write(`\r${line}\x1b[K`);
    else complain(line);
  }

  clear(): void {
    if (this.#tty) process.stderr.write('\r\x1b[K');
  }

  rate(events: number): number {
    return Math.round(events / this.seconds());
  }

  seconds(): number {
    return Math.max(performance.now() - this.#begin, 1) / 1000;
  }
}
