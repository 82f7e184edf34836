// The projectors, sagas, process managers and upcasters of one stream to Daybook: finds the one that is meant, and asks it.

import type { Client } from './client.ts';
import type { Work } from './gen/daybook/v1/component.ts';
import type { Hosted } from './hosted.ts';
import { handled, type ProcessManager, ProcessWork } from './process-manager.ts';
import { type Projector, ProjectorWork, projected } from './projector.ts';
import { whenDone } from './reactor.ts';
import { reacted, type Saga, SagaWork } from './saga.ts';
import type { Begun, Result } from './session.ts';
import { type Upcaster, upcasted } from './upcaster.ts';
import type { WorkInHand } from './work-in-hand.ts';

export class Reacting {
  readonly #client: Client;
  readonly #projectors: Map<string, Projector>;
  readonly #sagas: Map<string, Saga>;
  readonly #processManagers: Map<string, ProcessManager<unknown>>;
  readonly #upcasters: Map<string, Upcaster>;

  constructor(hosted: Hosted, client: Client) {
    this.#client = client;
    this.#projectors = byName(hosted.projectors);
    this.#sagas = byName(hosted.sagas);
    this.#processManagers = byName(hosted.processManagers);
    this.#upcasters = new Map(hosted.upcasters.map((upcaster) => [upcaster.domain, upcaster]));
  }

  begin(work: Work, request: Work['request']): Begun {
    const client = this.#client;
    switch (request?.$case) {
      case 'projector': {
        const projector = named(this.#projectors, work.component, 'projector');
        const context = new ProjectorWork(work, request.value, client);
        return begun(context, projected(projector, request.value, context), (value) => ({ $case: 'projector', value }));
      }
      case 'saga': {
        const context = new SagaWork(work, request.value, client);
        const response = reacted(named(this.#sagas, work.component, 'saga'), context);
        return begun(context, response, (value) => ({ $case: 'saga', value }));
      }
      case 'processManager': {
        const manager = named(this.#processManagers, work.component, 'process manager');
        const context = new ProcessWork(work, request.value, manager, client);
        const response = handled(manager, request.value, context);
        return begun(context, response, (value) => ({ $case: 'processManager', value }));
      }
      case 'upcast': {
        const upcaster = named(this.#upcasters, work.component, 'upcaster');
        return { result: { $case: 'upcast', value: upcasted(upcaster, request.value) } };
      }
      default:
        throw new Error(`this host has no handler for ${request?.$case ?? 'empty work'}`);
    }
  }
}

function begun<T>(inHand: WorkInHand, response: T | Promise<T>, wrap: (response: T) => Result): Begun {
  const result = whenDone(response, wrap);
  return result instanceof Promise ? { result, inHand } : { result };
}

function byName<T extends { name: string }>(components: readonly T[]): Map<string, T> {
  return new Map(components.map((component) => [component.name, component]));
}

function named<T>(components: Map<string, T>, name: string, kind: string): T {
  const component = components.get(name);
  if (component === undefined) throw new Error(`this host has no ${kind} '${name}'`);
  return component;
}
