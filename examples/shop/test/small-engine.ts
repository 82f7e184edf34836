// What Daybook promises to sagas and process managers, and no more, in memory and in any order that it allows: events of one aggregate
// come to a saga in order, triggers of one process one after the other, and commands from one source to one target in order.

import { type Aggregate, type Any, type ReactionCommand, Rejection, type Trigger } from '@daybook/client';
import { react } from '../fulfilment.ts';
import { inventory } from '../inventory.ts';
import { orders } from '../order.ts';
import { payments } from '../payment.ts';
import { type PaymentProcess, paymentProcess } from '../payment-process.ts';
import { notification, rejected } from './support.ts';

const AGGREGATES: Record<string, Aggregate<unknown>> = { order: orders, inventory, payment: payments };

/** Who sent a command, and the order that it is about: a saga's source, and a process. */
interface Sender {
  component: 'fulfilment' | 'payment';
  order: Uint8Array;
}

interface Process {
  state: PaymentProcess;
  timer: boolean;
  ended: boolean;
}

export class SmallEngine {
  /** By the root of the order, in hexadecimal. */
  readonly processes = new Map<string, Process>();
  readonly #streams = new Map<string, Any[]>();
  readonly #manager = paymentProcess();
  /** What is to be done, in order within each lane. */
  readonly #lanes = new Map<string, (() => void)[]>();

  /** From a client: true, or false when it was rejected. */
  execute(command: ReactionCommand): boolean {
    return this.#decide(command) === undefined;
  }

  state<S>(aggregate: Aggregate<S>, root: Uint8Array): S {
    const events = this.events(aggregate.domain, root);
    return events.reduce((state, event) => aggregate.evolve(state, event, {} as never), aggregate.initial());
  }

  events(domain: string, root: Uint8Array): Any[] {
    return this.#streams.get(`${domain}/${hex(root)}`) ?? [];
  }

  /** One step of something; false when there is nothing to do. `random` is from 0 to below 1. */
  step(random: () => number): boolean {
    const timers = [...this.processes].filter(([, process]) => process.timer);
    const lanes = [...this.#lanes.values()].filter((lane) => lane.length > 0);
    if (timers.length + lanes.length === 0) return false;
    const chosen = Math.floor(random() * (timers.length + lanes.length));
    const timer = timers[chosen];
    // A timer may fire at any moment after it was set: that is what the process has to live with.
    if (timer !== undefined) this.#fire(timer[0]);
    else lanes[chosen - timers.length]!.shift()!();
    return true;
  }

  #later(lane: string, work: () => void): void {
    const waiting = this.#lanes.get(lane);
    if (waiting === undefined) this.#lanes.set(lane, [work]);
    else waiting.push(work);
  }

  #decide({ domain, root, payload }: ReactionCommand, sender?: Sender): Rejection | undefined {
    const aggregate = AGGREGATES[domain]!;
    const commands: readonly Any[] = Array.isArray(payload) ? payload : [payload];
    try {
      const decided = aggregate.decide(this.state(aggregate, root), commands, { nextSequence: 0 } as never) as Any[];
      this.#streams.set(`${domain}/${hex(root)}`, [...this.events(domain, root), ...decided]);
      for (const event of decided) this.#happened(domain, root, event);
      return undefined;
    } catch (error) {
      if (!(error instanceof Rejection)) throw error;
      if (sender !== undefined) this.#refused(sender, error);
      return error;
    }
  }

  #happened(domain: string, root: Uint8Array, event: Any): void {
    if (domain === 'inventory') return;
    this.#trigger(root, { kind: 'event', event, page: {} as never, domain, root });
    if (domain !== 'order') return;
    this.#later(`fulfilment of ${hex(root)}`, () => {
      for (const command of react(event, root)) this.#send(command, { component: 'fulfilment', order: root });
    });
  }

  #send(command: ReactionCommand, sender: Sender): void {
    const lane = `${sender.component} of ${hex(sender.order)} to ${command.domain}/${hex(command.root)}`;
    this.#later(lane, () => void this.#decide(command, sender));
  }

  #refused({ component, order }: Sender, { code, message }: Rejection): void {
    if (component === 'payment') {
      this.#trigger(order, { kind: 'rejection', notification: notification(code, message) });
      return;
    }
    this.#later(`notifications of ${hex(order)}`, () => {
      const again = this.#decide({ domain: 'order', root: order, payload: rejected(code, message) });
      if (again !== undefined) throw new Error(`a dead letter: ${again.message}`);
    });
  }

  #fire(order: string): void {
    this.processes.get(order)!.timer = false;
    this.#trigger(Buffer.from(order, 'hex'), { kind: 'timer', name: 'deadline', due: new Date(), payload: undefined });
  }

  #trigger(order: Uint8Array, trigger: Trigger): void {
    this.#later(`process of ${hex(order)}`, () => this.#handle(order, trigger));
  }

  #handle(order: Uint8Array, trigger: Trigger): void {
    const process = this.processes.get(hex(order)) ?? { state: this.#manager.initial(), timer: false, ended: false };
    this.processes.set(hex(order), process);
    if (process.ended) return;
    const step = this.#manager.handle(process.state, trigger, {} as never);
    if (!step || step instanceof Promise) return;
    for (const event of step.events ?? []) process.state = this.#manager.evolve(process.state, event, {} as never);
    for (const command of step.commands ?? []) this.#send(command, { component: 'payment', order });
    if (step.timers?.length) process.timer = true;
    if (step.cancelTimers?.length || step.ended) process.timer = false;
    process.ended = step.ended ?? false;
  }
}

function hex(root: Uint8Array): string {
  return Buffer.from(root).toString('hex');
}
