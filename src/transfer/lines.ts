import { Unreadable } from './unreadable.ts';

/** A line of more bytes than this is not one of ours: payloads are at most 1 MiB. */
export const LINE_BYTES_MAX = 16 * 1024 * 1024;

export interface Line {
  /** From 1. */
  number: number;
  text: string;
  /** Whether it ended as a line does, or with the file. */
  whole: boolean;
}

/** Empty lines are counted and left out. Throws Unreadable for a line that is too long, or no UTF-8. */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Line> {
  let number = 1;
  let parts: Uint8Array[] = [];
  let bytes = 0;
  const take = (whole: boolean): Line => {
    let text: string;
    try {
      text = UTF8.decode(Buffer.concat(parts));
    } catch {
      throw new Unreadable(`line ${number}`, 'UTF-8', 'other bytes');
    }
    parts = [];
    bytes = 0;
    return { number: number++, text: text.endsWith('\r') ? text.slice(0, -1) : text, whole };
  };
  for await (const chunk of chunks) {
    for (let from = 0; from < chunk.length; ) {
      const end = chunk.indexOf(NEWLINE, from);
      const part = chunk.subarray(from, end < 0 ? chunk.length : end);
      bytes += part.length;
      if (bytes > LINE_BYTES_MAX) throw new Unreadable(`line ${number}`, `at most ${LINE_BYTES_MAX} bytes`, bytes);
      parts.push(part);
      from += part.length + 1;
      if (end < 0) break;
      const line = take(true);
      if (line.text !== '') yield line;
    }
  }
  if (bytes > 0) yield take(false);
}

const NEWLINE = 10;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
