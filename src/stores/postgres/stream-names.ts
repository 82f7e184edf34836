// Which aggregate the number of a stream stands for, of streams that were asked for once. That never changes in a database. It is forgotten with
// the connection: the next one may lead to a database that was restored.

import { assert } from '../../errors.ts';
import type { Cover } from '../../model/book.ts';
import type { StreamKey } from '../../model/stream.ts';

/** As covers name an aggregate. All covers of a stream share the root: they wait by the ten thousand when somebody catches up. */
export type StreamName = Pick<Cover, 'tenant' | 'domain' | 'root'>;

/** Of one generation; there are two. */
const REMEMBERED = 8192;

export class StreamNames {
  #recent = new Map<number, StreamName>();
  #before: ReadonlyMap<number, StreamName> = new Map();

  /** Streams that have to be told before `of` is asked for one of these events. What was remembered before may be forgotten. */
  unknown(events: readonly { stream: number }[]): number[] {
    if (this.#recent.size > REMEMBERED) {
      this.#before = this.#recent;
      this.#recent = new Map();
    }
    const unknown = new Set<number>();
    for (const { stream } of events) {
      if (this.#recent.has(stream)) continue;
      const key = this.#before.get(stream);
      if (key === undefined) unknown.add(stream);
      else this.#recent.set(stream, key);
    }
    return [...unknown];
  }

  tell(keys: Iterable<readonly [stream: number, key: StreamKey]>): void {
    for (const [stream, { tenant, domain, root }] of keys) {
      // In memory of its own: what was read lies in larger pieces.
      this.#recent.set(stream, { tenant, domain, root: { value: new Uint8Array(root) } });
    }
  }

  of(stream: number): StreamName {
    const name = this.#recent.get(stream);
    assert(name !== undefined, `the log has an event of stream ${stream}, which is not among the streams`);
    return name;
  }
}
