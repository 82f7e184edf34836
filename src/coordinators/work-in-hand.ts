// What domain code is handling right now, so that a call from inside that handling is recognised: it may use the credit of
// the work it belongs to, and it is refused at once where waiting could never end.

import { DaybookError } from '../errors.ts';
import { TransientMap } from '../transient-map.ts';

export interface Work {
  readonly id: string;
  /** The aggregate that is being decided. */
  readonly streamText: string;
  readonly parent: Work | undefined;
  /** A decision, not a reaction. */
  readonly decides: boolean;
  /** Aggregates whose turn is waited for by calls from inside this work. */
  readonly awaited: Set<string>;
}

/** Work that another daemon has in hand, or ours as others see it. */
export interface RemoteWork {
  workId: string;
  stream: string;
  decides: boolean;
}

export class WorkInHand {
  readonly #prefix: string;
  #count = 0;
  readonly #byId = new TransientMap<string, Work>();
  readonly #byStream = new TransientMap<string, Work>();

  /** The prefix tells the daemons of a log apart. */
  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  begin(streamText: string, parent: Work | undefined, decides = true): Work {
    const id = `${this.#prefix}-${(this.#count++).toString(36)}`;
    const work: Work = { id, streamText, parent, decides, awaited: new Set() };
    this.#byId.set(id, work);
    // Nobody waits for the turn of a reaction.
    if (decides) this.#byStream.set(streamText, work);
    return work;
  }

  end(work: Work): void {
    this.#byId.delete(work.id);
    if (work.decides && this.#byStream.get(work.streamText) === work) this.#byStream.delete(work.streamText);
  }

  /** Work that is over, or another daemon's, is not found: the call is then like any other. */
  find(id: string): Work | undefined {
    return id === '' ? undefined : this.#byId.get(id);
  }

  /** The same from a chain that another daemon passed on, nearest first. What of it is in hand here is itself. */
  adopt(chain: readonly RemoteWork[]): Work | undefined {
    return chain.reduceRight<Work | undefined>((parent, { workId: id, stream: streamText, decides }) => {
      return this.#byId.get(id) ?? { id, streamText, parent, decides, awaited: new Set() };
    }, undefined);
  }

  /** REENTRANT when a call from inside `parent` for this aggregate would wait for itself, directly or through others. */
  checkReentrance(parent: Work, streamText: string): void {
    const mine = new Set<string>();
    for (let work: Work | undefined = parent; work !== undefined; work = work.parent) mine.add(work.streamText);
    const seen = new Set<string>();
    const blocked = (text: string): boolean => {
      if (mine.has(text)) return true;
      if (seen.has(text)) return false;
      seen.add(text);
      const holder = this.#byStream.get(text);
      if (holder === undefined) return false;
      for (const awaited of holder.awaited) if (blocked(awaited)) return true;
      return false;
    };
    if (blocked(streamText)) {
      throw new DaybookError(
        'REENTRANT',
        `${streamText}: a command from inside the handling of ${parent.streamText} would wait for itself`,
      );
    }
  }
}

/** Ids of the work that a call belongs to, nearest first. */
export function ancestors(work: Work | undefined): string[] {
  const ids: string[] = [];
  for (let w = work; w !== undefined; w = w.parent) ids.push(w.id);
  return ids;
}

/** The same for another daemon. */
export function chainOf(work: Work | undefined): RemoteWork[] {
  const chain: RemoteWork[] = [];
  for (let w = work; w !== undefined; w = w.parent) {
    chain.push({ workId: w.id, stream: w.streamText, decides: w.decides });
  }
  return chain;
}
