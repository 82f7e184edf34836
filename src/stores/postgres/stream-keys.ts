// Which aggregate the number of a stream stands for, of streams that were asked for once. That never changes in a database. It is forgotten with
// the connection: the next one may lead to a database that was restored.

import type { StreamKey } from '../../model/stream.ts';

/** Of one generation; there are two. */
const REMEMBERED = 8192;

export class StreamKeys {
  #recent = new Map<number, StreamKey>();
  #before: ReadonlyMap<number, StreamKey> = new Map();

  /** Those that have to be told before `of` is asked for one of all these. What was remembered before may be forgotten. */
  unknown(streams: Iterable<number>): number[] {
    if (this.#recent.size > REMEMBERED) {
      this.#before = this.#recent;
      this.#recent = new Map();
    }
    const unknown = new Set<number>();
    for (const stream of streams) {
      if (this.#recent.has(stream)) continue;
      const key = this.#before.get(stream);
      if (key === undefined) unknown.add(stream);
      else this.#recent.set(stream, key);
    }
    return [...unknown];
  }

  tell(keys: Iterable<readonly [stream: number, key: StreamKey]>): void {
    // Roots of their own: those that were read lie in larger memory.
    for (const [stream, key] of keys) this.#recent.set(stream, { ...key, root: new Uint8Array(key.root) });
  }

  of(stream: number): StreamKey {
    return this.#recent.get(stream)!;
  }
}
