import type { ReactionCall, Reactor, ReactorDeclaration } from '../component.ts';
import { DaybookError } from '../errors.ts';
import type { ReactionMessages, ReactorKind } from '../model/reaction.ts';
import type { AttachedReactor } from './attached-reactor.ts';

/** What a pool needs to know of an attach stream. */
export interface Host {
  readonly draining: boolean;
}

/** All processes that are attached for one kind, name, generation and version. Any of them may handle any event. */
export class ReactorPool<Kind extends ReactorKind = ReactorKind> implements Reactor<Kind> {
  readonly #hosts = new Map<Host, AttachedReactor<Kind>>();
  readonly #onChange: () => void;
  #declaration: ReactorDeclaration & { kind: Kind };
  #refused: string | undefined;
  #turn = 0;

  /** `onChange` is told when it became available or not, or may have. */
  constructor(declaration: ReactorDeclaration & { kind: Kind }, onChange: () => void) {
    this.#declaration = declaration;
    this.#onChange = onChange;
  }

  /** What the first of its hosts said; only `maxPages` is what suits all of them. */
  get declaration(): ReactorDeclaration & { kind: Kind } {
    return this.#declaration;
  }

  get hosted(): boolean {
    return this.#hosts.size > 0;
  }

  get available(): boolean {
    if (this.#refused !== undefined) return false;
    for (const host of this.#hosts.keys()) if (!host.draining) return true;
    return false;
  }

  add(host: Host, reactor: AttachedReactor<Kind>): void {
    this.#hosts.set(host, reactor);
    this.#declare();
    if (this.#refused !== undefined) reactor.refuse(this.#refused);
    this.#onChange();
  }

  remove(host: Host): void {
    if (!this.#hosts.delete(host)) return;
    this.#declare();
    this.#onChange();
  }

  handle(request: ReactionMessages[Kind]['request'], call: ReactionCall): Promise<ReactionMessages[Kind]['response']> {
    const reactor = this.#refused === undefined ? this.#leastLoaded() : undefined;
    if (reactor !== undefined) return reactor.handle(request, call);
    const { name } = this.declaration;
    const why = this.#refused ?? 'no host is attached';
    const error = new DaybookError('COMPONENT_UNAVAILABLE', `${call.about}: ${why}`, {
      metadata: { component: name },
      retryDelayMs: 200,
    });
    return Promise.reject(error);
  }

  refuse(sentence: string | undefined): void {
    if (sentence === this.#refused) return;
    this.#refused = sentence;
    // One that is going needs no work, and its stream may have ended.
    if (sentence !== undefined) for (const [host, reactor] of this.#hosts) if (!host.draining) reactor.refuse(sentence);
    this.#onChange();
  }

  /** Of those with as little in hand, each in its turn. */
  #leastLoaded(): AttachedReactor<Kind> | undefined {
    const able: AttachedReactor<Kind>[] = [];
    for (const [host, reactor] of this.#hosts) if (!host.draining) able.push(reactor);
    if (able.length <= 1) return able[0];
    let least: AttachedReactor<Kind> | undefined;
    const first = this.#turn++ % able.length;
    for (let i = 0; i < able.length; i++) {
      const reactor = able[(first + i) % able.length]!;
      if (least === undefined || reactor.load < least.load) least = reactor;
    }
    return least;
  }

  #declare(): void {
    const maxPages = Math.min(...[...this.#hosts.values()].map(({ declaration }) => declaration.maxPages));
    if (this.#hosts.size > 0 && maxPages !== this.#declaration.maxPages) {
      this.#declaration = { ...this.#declaration, maxPages };
    }
  }
}
