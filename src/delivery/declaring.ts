// Makes known what components declare, and finds who may serve a subscription.

import type { Components, Reactor, ReactorDeclaration } from '../component.ts';
import type { Store, SubscriptionDefinition } from '../store.ts';
import { definitionOf, disagreement, startAfterAll } from './declarations.ts';
import type { DeliveryLog } from './parts.ts';
import { serves } from './sharing.ts';

export interface DeclaringParts {
  store: Store;
  components: Components;
  log: DeliveryLog;
}

export class Declaring {
  readonly #parts: DeclaringParts;
  /** Reactors that contradict what is known of them, and what they were told. */
  readonly #refused = new Map<Reactor, string>();

  constructor(parts: DeclaringParts) {
    this.#parts = parts;
  }

  /** True: something new is in the store now. */
  async declareAll(definitions: readonly SubscriptionDefinition[]): Promise<boolean> {
    let declared = false;
    for (const reactor of this.#parts.components.reactors()) {
      if (reactor.available || this.#refused.has(reactor))
        declared = (await this.#declare(reactor, definitions)) || declared;
    }
    return declared;
  }

  /** True: something new is in the store now. Refuses what contradicts it. */
  async #declare(reactor: Reactor, definitions: readonly SubscriptionDefinition[]): Promise<boolean> {
    const { declaration } = reactor;
    const known = definitions.filter(({ name }) => name === declaration.name);
    const sentence = disagreement(declaration, known);
    if (this.#refused.get(reactor) !== sentence) {
      if (sentence === undefined) this.#refused.delete(reactor);
      else {
        this.#refused.set(reactor, sentence);
        this.#parts.log.warn({ component: declaration.name, why: sentence }, 'a declaration is refused');
      }
      reactor.refuse(sentence);
    }
    if (sentence !== undefined) return false;
    const definition = definitionOf(declaration, known, 0);
    if (definition === undefined) return false;
    const startAfter = await startAfterAll(this.#parts.store, declaration.name, await this.#startOf(declaration));
    const now = await this.#parts.store.declare({ ...definition, startAfter });
    const about = { subscription: now.name, kind: now.kind, generation: now.generation, version: now.version };
    const before = known.find((row) => row.generation === now.generation);
    if (before?.version === now.version) return false;
    // Somebody declared another generation under this number just now: the next look finds a number for this one.
    if (now.version !== definition.version) return true;
    this.#parts.log.info({ ...about, start_after: now.startAfter }, 'subscription declared');
    return true;
  }

  async #startOf({ start }: ReactorDeclaration): Promise<number> {
    const { store } = this.#parts;
    switch (start.kind) {
      case 'beginning':
        return 0;
      case 'now':
        return (await store.head()).position;
      case 'after':
        return Math.min(start.position, (await store.head()).position);
      case 'time':
        return store.positionBefore(start.timeMicros);
    }
  }

  /** Who may serve this generation of it now. */
  reactorFor(definition: SubscriptionDefinition): Reactor | undefined {
    const serving = this.#parts.components
      .reactors()
      .filter(({ declaration: { name, kind } }) => name === definition.name && kind === definition.kind)
      .filter((reactor) => !this.#refused.has(reactor))
      .filter(({ declaration }) => serves(declaration, definition));
    return serving.find(({ available }) => available) ?? serving[0];
  }
}
