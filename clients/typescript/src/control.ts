// For operators: what runs, and stopping, starting and rebuilding it.

import type { CallOptions, Calls } from './calls.ts';
import {
  ControlDefinition,
  type Instance,
  type ListSubscriptionsResponse,
  type RebuildProgress,
} from './gen/daybook/v1/control.ts';
import { type StartPoint, startOf } from './reactor.ts';
import { methodOf } from './transport.ts';

export class Control {
  readonly #calls: Calls;

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** How far each has come, and what holds it up. Without names: all. */
  listSubscriptions(names: readonly string[] = [], options?: CallOptions): Promise<ListSubscriptionsResponse> {
    return this.#calls.repeated(LIST_SUBSCRIPTIONS, { subscriptions: [...names] }, options);
  }

  /** It stops after what it has in hand. */
  async pause(subscription: string, options?: CallOptions): Promise<void> {
    await this.#calls.repeated(PAUSE, { subscription }, options);
  }

  async resume(subscription: string, options?: CallOptions): Promise<void> {
    await this.#calls.repeated(RESUME, { subscription }, options);
  }

  /**
   * Builds a projector anew beside the running one. Begins with the loop, and tells the progress until the new rows are shown
   * (`switched`).
   */
  rebuild(
    projector: string,
    options: CallOptions & { start?: StartPoint } = {},
  ): AsyncGenerator<RebuildProgress, void, undefined> {
    const start = options.start && { start: startOf(options.start) };
    return this.#calls.stream(REBUILD, { projector, start }, options);
  }

  /** The daemons of this log. */
  async listInstances(options?: CallOptions): Promise<Instance[]> {
    const { instances } = await this.#calls.repeated(LIST_INSTANCES, {}, options);
    return instances;
  }
}

const { methods } = ControlDefinition;
const LIST_SUBSCRIPTIONS = methodOf(ControlDefinition, methods.listSubscriptions);
const PAUSE = methodOf(ControlDefinition, methods.pause);
const RESUME = methodOf(ControlDefinition, methods.resume);
const REBUILD = methodOf(ControlDefinition, methods.rebuild);
const LIST_INSTANCES = methodOf(ControlDefinition, methods.listInstances);
