// What commands print: lines for people in columns, or one JSON object a line.

import { once } from 'node:events';

/** Ends quietly when the reader of stdout is gone, as `head` does. */
export function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
}

/** Resolves when stdout can take more. */
export async function print(line: string): Promise<void> {
  if (!process.stdout.write(`${line}\n`)) await once(process.stdout, 'drain');
}

/** A sentence for people on stderr. */
export function complain(sentence: string): void {
  process.stderr.write(`${sentence}\n`);
}

/** Text from elsewhere, safe for a terminal and on one line. */
export function plainText(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu, (character) => {
    const code = character.codePointAt(0)!;
    return `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

/** Lines with aligned columns, without knowing what is still to come: a column only grows. */
export class Columns {
  readonly #titles: readonly string[];
  readonly #widths: number[];
  readonly #right: readonly boolean[];

  constructor(columns: readonly { title: string; width?: number; right?: boolean }[]) {
    this.#titles = columns.map((column) => column.title);
    this.#widths = columns.map((column) => Math.max(column.width ?? 0, column.title.length));
    this.#right = columns.map((column) => column.right === true);
  }

  header(): string {
    return this.line(this.#titles);
  }

  line(cells: readonly string[]): string {
    const padded = cells.map((cell, i) => {
      const text = plainText(cell);
      const width = Math.max(this.#widths[i]!, text.length);
      this.#widths[i] = width;
      return this.#right[i] ? text.padStart(width) : text.padEnd(width);
    });
    return padded.join('  ').trimEnd();
  }
}
