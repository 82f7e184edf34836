// Time that stands still while anything happens. What is to happen later lies in one queue; the next thing is taken when everything that
// the last one set off is over, which is when Node has no microtask left.

/** Whose things happen later when it is paused, and never when it is dead. */
export interface Owner {
  readonly dead: boolean;
  readonly pausedUntilMs: number;
}

class Planned {
  atMs: number;
  order: number;
  readonly owner: Owner | undefined;
  call: (() => void) | undefined;

  constructor(atMs: number, order: number, owner: Owner | undefined, call: () => void) {
    this.atMs = atMs;
    this.order = order;
    this.owner = owner;
    this.call = call;
  }

  cancel(): void {
    this.call = undefined;
  }
}

/** So many steps are handed to Node at once: it empties the microtask queue between any two, and looks at nothing else. */
const BATCH = 64;

export class VirtualTime {
  nowMs = 0;
  /** Things that happened. */
  steps = 0;
  #order = 0;
  readonly #heap: Planned[] = [];
  #stopped = false;

  /** Things at the same time happen in the order in which they were planned. */
  after(delayMs: number, call: () => void, owner?: Owner): { cancel(): void } {
    const planned = new Planned(this.nowMs + Math.max(0, delayMs), ++this.#order, owner, call);
    this.#push(planned);
    return planned;
  }

  /** Nothing happens any more. */
  stop(): void {
    this.#stopped = true;
  }

  /** Until it is stopped, or nothing is planned. */
  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      let left = 0;
      let over = false;
      const step = () => {
        left--;
        if (over) return;
        try {
          const next = this.#stopped ? undefined : this.#pop();
          if (next === undefined) {
            over = true;
            resolve();
          } else {
            this.nowMs = next.atMs;
            this.steps++;
            next.call!();
          }
        } catch (error) {
          over = true;
          reject(error);
        }
        if (left === 0 && !over) refill();
      };
      const refill = () => {
        left = BATCH;
        for (let i = 0; i < BATCH; i++) setImmediate(step);
      };
      refill();
    });
  }

  #push(planned: Planned): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(planned);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(planned, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = planned;
  }

  /** The next that was not cancelled, and whose owner lives and runs. */
  #pop(): Planned | undefined {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined) return undefined;
      const last = this.#heap.pop()!;
      if (this.#heap.length > 0) this.#sink(last);
      const { call, owner } = first;
      if (call === undefined || owner?.dead) continue;
      if (owner === undefined || owner.pausedUntilMs <= first.atMs) return first;
      first.atMs = owner.pausedUntilMs;
      first.order = ++this.#order;
      this.#push(first);
    }
  }

  #sink(planned: Planned): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, planned)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = planned;
  }
}

function isBefore(a: Planned, b: Planned): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
