// Asking domain code: who is asked, with what deadline, and from inside which other work.

import type { AggregateComponent, Components, Decision, History } from '../component.ts';
import { DaybookError } from '../errors.ts';
import type { CommandBook } from '../model/book.ts';
import type { StreamKey } from '../model/stream.ts';
import type { Runtime } from '../runtime.ts';
import type { EventStore } from '../store.ts';
import type { Caller } from './caller.ts';
import { ancestors, type Work, WorkInHand } from './work-in-hand.ts';

/** Finds who decides for a domain, and says why nobody does. */
export class Hosts {
  readonly #components: Components;
  readonly #store: EventStore;
  readonly #knownElsewhere: (domain: string) => boolean;
  readonly #owned: readonly string[] | undefined;

  /** `knownElsewhere`: another daemon of this log said that it hosts the domain. `owned`: the only ones that this daemon appends to. */
  constructor(
    components: Components,
    store: EventStore,
    {
      knownElsewhere = () => false,
      owned,
    }: { knownElsewhere?: (domain: string) => boolean; owned?: readonly string[] | undefined } = {},
  ) {
    this.#components = components;
    this.#store = store;
    this.#knownElsewhere = knownElsewhere;
    this.#owned = owned;
  }

  /** Somebody here decides for the domain now. */
  here(domain: string): boolean {
    return this.#components.aggregate(domain) !== undefined;
  }

  /** COMPONENT_UNAVAILABLE or UNKNOWN_DOMAIN when nobody is there. */
  async find(domain: string): Promise<AggregateComponent> {
    const component = this.#components.aggregate(domain);
    if (component !== undefined) return component;
    await this.checkKnown(domain);
    throw new DaybookError('COMPONENT_UNAVAILABLE', `${domain}: no host of this domain is reachable`, {
      metadata: { component: domain },
      retryDelayMs: 200,
    });
  }

  /** COMPONENT_UNAVAILABLE when only others append to the domain: whoever hosts it, where none does now. */
  checkOwned(domain: string): void {
    if (this.#owned === undefined || this.#owned.includes(domain)) return;
    const what = `not one of the domains that this daemon owns (${this.#owned.join(', ')}), and no other daemon hosts it`;
    throw new DaybookError('COMPONENT_UNAVAILABLE', `${domain}: ${what}`, {
      metadata: { component: domain },
      retryDelayMs: 200,
    });
  }

  /** UNKNOWN_DOMAIN unless somebody serves it, served it, or its events are in the log. */
  async checkKnown(domain: string): Promise<void> {
    if (this.#components.knowsDomain(domain) || this.#knownElsewhere(domain)) return;
    if ((await this.#store.listStreams({ domain, limit: 1 })).length > 0) return;
    throw new DaybookError('UNKNOWN_DOMAIN', `${domain}: nobody ever served this domain, and no route leads to it`, {
      metadata: { domain },
    });
  }
}

export interface AskingLimits {
  componentTimeoutMs: number;
  snapshotAfterPages: number;
}

export interface Question {
  stream: StreamKey;
  text: string;
  component: AggregateComponent;
  command: CommandBook;
  history: History;
  /** The sequence after the newest snapshot. */
  snapshotNext: number;
  parent: Work | undefined;
  caller: Caller;
  dryRun?: boolean;
}

export class Asking {
  readonly #runtime: Runtime;
  readonly #limits: AskingLimits;
  readonly #work: WorkInHand;

  /** `instance` tells this daemon's work ids from those of others. */
  constructor(runtime: Runtime, limits: AskingLimits, instance: string) {
    this.#runtime = runtime;
    this.#limits = limits;
    this.#work = new WorkInHand(instance);
  }

  /** The work from inside which a call comes, if it does; REENTRANT when it could only wait for itself. Then `leave`. */
  enter(workId: string, text: string, { ancestors = [] }: Caller): Work | undefined {
    const parent = this.#work.find(workId) ?? this.#work.adopt(ancestors);
    if (parent === undefined) return undefined;
    this.#work.checkReentrance(parent, text);
    parent.awaited.add(text);
    return parent;
  }

  /** REENTRANT when a call that waits for reactions comes from inside a decision: nothing could follow before it ends. */
  checkMayWait(workId: string): void {
    const parent = this.#work.find(workId);
    for (let work = parent; work !== undefined; work = work.parent) {
      if (!work.decides) continue;
      throw new DaybookError(
        'REENTRANT',
        `${work.streamText}: a command from inside its handling cannot wait for reactions; use NONE`,
      );
    }
  }

  leave(parent: Work | undefined, text: string): void {
    parent?.awaited.delete(text);
  }

  /** Asks a reactor, which may call Daybook from inside its work; `text` names it among all work, and no aggregate. */
  async react<T>(text: string, ask: (workId: string) => Promise<T>): Promise<T> {
    const work = this.#work.begin(text, undefined, false);
    try {
      return await ask(work.id);
    } finally {
      this.#work.end(work);
    }
  }

  async decide(question: Question): Promise<Decision> {
    const { stream, text, component, command, history, parent, caller, snapshotNext, dryRun = false } = question;
    const work = this.#work.begin(text, parent);
    try {
      return await component.decide({
        stream,
        streamText: text,
        command,
        history,
        snapshotWanted: !dryRun && history.nextSequence - snapshotNext >= this.#limits.snapshotAfterPages,
        dryRun,
        workId: work.id,
        ancestors: ancestors(parent),
        deadlineMs: Math.min(caller.deadlineMs, this.#runtime.monotonicMs() + this.#limits.componentTimeoutMs),
        signal: caller.signal,
      });
    } finally {
      this.#work.end(work);
    }
  }
}
