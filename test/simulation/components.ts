// Domain code as one daemon reaches it: it takes its time, fails, answers nonsense, or dies with work in hand, as the plan says.

import {
  type About,
  type AggregateComponent,
  type Components,
  type Decision,
  type DecisionRequest,
  HostLost,
  type HostNeeds,
  type Reactor,
  type ReactorDeclaration,
} from '../../src/component.ts';
import { DaybookError } from '../../src/errors.ts';
import type { EventBook } from '../../src/model/book.ts';
import type { ReactionMessages, ReactorKind } from '../../src/model/reaction.ts';
import { apply, DOMAINS, EMPTY, type State } from './aggregates.ts';
import { eventBook, eventPage, numberOf, payload, said } from './payloads.ts';
import { type ComponentFault, PROCESS_MANAGER, PROJECTOR, SAGA } from './plan.ts';
import { balances, fulfilment, transfers, WRONG_COVER } from './reactions.ts';

/** What a component needs of the simulation. */
export interface Stage {
  readonly workload: string;
  readonly partitions: number;
  /** Of the projector. */
  partitionsOf(generation: number): number;
  readonly keepsState: boolean;
  readonly journal: 'command' | 'fact';
  /** Counts the call, and says what goes wrong with it. `event`: what it is about, for faults that belong to an event. */
  faultOf(component: string, event: string | undefined): ComponentFault | undefined;
  /** How long a call takes, usually. */
  takesMs(): number;
  nonce(): number;
  /** In the life of the daemon: never when that is over, later when it is paused. */
  after(delayMs: number, call: () => void): void;
  note(what: string): void;
  /** The timer is due only later, by the store's clock. */
  firesEarly(dueMicros: number): void;
}

type Response = ReactionMessages[ReactorKind]['response'];

const SLOW_MS = 1500;
const BACK_MS = 300;

class SimulatedReactor<Kind extends ReactorKind> implements Reactor<Kind> {
  readonly declaration: ReactorDeclaration & { kind: Kind };
  available = true;
  readonly #stage: Stage;
  readonly #answer: (request: ReactionMessages[Kind]['request']) => Response;
  readonly #changed: () => void;
  #lost: ((error: HostLost) => void)[] = [];

  constructor(
    stage: Stage,
    declaration: ReactorDeclaration & { kind: Kind },
    answer: (request: ReactionMessages[Kind]['request']) => Response,
    changed: () => void,
  ) {
    this.#stage = stage;
    this.declaration = declaration;
    this.#answer = answer;
    this.#changed = changed;
  }

  handle(request: ReactionMessages[Kind]['request'], call: { about: About; timeoutMs: number }) {
    const { name } = this.declaration;
    if (!this.available) return Promise.reject(new DaybookError('COMPONENT_UNAVAILABLE', 'nobody is there'));
    const fault = this.#stage.faultOf(name, eventOf(request));
    this.#stage.note(`${call.about}${fault === undefined ? '' : ` (${fault})`}`);
    return new Promise<ReactionMessages[Kind]['response']>((resolve, reject) => {
      this.#lost.push(reject);
      const takesMs = fault === 'timeout' ? call.timeoutMs : this.#stage.takesMs() + (fault === 'slow' ? SLOW_MS : 0);
      this.#stage.after(takesMs, () => {
        this.#lost = this.#lost.filter((each) => each !== reject);
        if (fault === 'lost') {
          reject(new HostLost(name, call.about));
          this.leave(BACK_MS);
        } else if (fault !== undefined && fault !== 'slow' && fault !== 'wrong')
          reject(errorOf(fault, `${call.about}`));
        else resolve(this.#respond(request, fault === 'wrong') as ReactionMessages[Kind]['response']);
      });
    });
  }

  refuse(sentence: string | undefined): void {
    this.#stage.note(`${this.declaration.name} is refused: ${sentence}`);
  }

  /** Its host goes away with everything that is in hand, and comes back. */
  leave(forMs: number): void {
    this.available = false;
    const lost = this.#lost;
    this.#lost = [];
    for (const reject of lost) reject(new HostLost(this.declaration.name, 'its host'));
    this.#changed();
    this.#stage.after(forMs, () => {
      this.available = true;
      this.#changed();
    });
  }

  #respond(request: ReactionMessages[Kind]['request'], wrong: boolean): Response {
    const response = this.#answer(request);
    if (!wrong) return response;
    if ('projections' in response) return { projections: [...response.projections, ...response.projections] };
    if ('ended' in response) return { ...response, processEvents: wrongBook() };
    return { ...response, events: [wrongBook()] };
  }
}

function wrongBook(): EventBook {
  return eventBook(WRONG_COVER, [eventPage('Wrong', {})]);
}

function eventOf(request: ReactionMessages[ReactorKind]['request']): string | undefined {
  const book = 'source' in request ? request.source : 'events' in request ? request.events : undefined;
  if (book !== undefined) return String(book.pages.at(-1)!.position);
  if (!('trigger' in request) || request.trigger?.$case !== 'events') return undefined;
  return String(request.trigger.value.pages[0]!.position);
}

function errorOf(fault: Exclude<ComponentFault, 'slow' | 'wrong'>, about: string): DaybookError {
  if (fault === 'lost') return new DaybookError('COMPONENT_UNAVAILABLE', `${about}: the host went away`);
  if (fault === 'overloaded') return new DaybookError('OVERLOADED', `${about}: too much`);
  if (fault === 'timeout') return new DaybookError('COMPONENT_TIMEOUT', `${about}: no answer`);
  return new DaybookError('COMPONENT_FAULT', `${about}: simulated`);
}

/** Decides for one domain, in one process that may keep states of aggregates. */
class SimulatedAggregate implements AggregateComponent {
  readonly domain: string;
  readonly #stage: Stage;
  readonly #states = new Map<string, State>();

  constructor(stage: Stage, domain: string) {
    this.#stage = stage;
    this.domain = domain;
  }

  needs(_: unknown, streamText: string): HostNeeds {
    return { heldUpTo: this.#states.get(streamText)?.next ?? 0, snapshotVersion: 1 };
  }

  async decide(request: DecisionRequest): Promise<Decision> {
    const fault = this.#stage.faultOf(this.domain, undefined);
    const state = await this.#stateOf(request);
    const takesMs = this.#stage.takesMs() + (fault === 'slow' || fault === 'timeout' ? SLOW_MS : 0);
    await new Promise<void>((resolve) => this.#stage.after(takesMs, resolve));
    if (fault === 'lost') this.#states.clear();
    if (fault !== undefined && fault !== 'slow' && fault !== 'wrong') throw errorOf(fault, request.streamText);
    const book = decide(this.domain, state, request);
    if (book === undefined || 'kind' in book) return book ?? { kind: 'events', book: eventBook(undefined, []) };
    if (request.snapshotWanted) {
      // The state after the events of this very reply.
      const after = book.pages.reduce((before, page) => apply(before, said(page.event!)), state);
      if (after.next > 0) {
        const snapshot = { sequence: after.next - 1, state: payload('State', { ...after }) };
        book.snapshot = { ...snapshot, retention: 0, schemaVersion: 1 };
      }
    }
    if (fault === 'wrong') book.cover = WRONG_COVER;
    return { kind: 'events', book };
  }

  leave(): void {
    this.#states.clear();
  }

  /** From what it keeps and the pages that it is sent, never from what it answered. */
  async #stateOf({ streamText, history }: DecisionRequest): Promise<State> {
    const held = this.#states.get(streamText);
    const base = held !== undefined && held.next <= history.nextSequence ? held : EMPTY;
    let state = base;
    for await (const { snapshot, from, pages } of history.parts(base.next, 1, 700)) {
      if (snapshot !== undefined) state = said(snapshot.state!).data as unknown as State;
      if (from !== state.next) throw new Error(`${streamText}: expected a history from ${state.next}, got ${from}`);
      for (const page of pages) {
        if (page.sequence !== state.next) throw new Error(`${streamText}: ${page.sequence} follows ${state.next - 1}`);
        state = apply(state, said(page.event!));
      }
    }
    if (state.next !== history.nextSequence) {
      throw new Error(`${streamText}: a history of ${history.nextSequence} events ended after ${state.next}`);
    }
    if (this.#stage.keepsState) this.#states.set(streamText, state);
    return state;
  }
}

function decide(domain: string, state: State, { command }: DecisionRequest): EventBook | Decision {
  let after = state;
  const pages = [];
  for (const page of command.pages) {
    const { type, data } = said(page.command!);
    const decided = DOMAINS[domain]!.decide(after, type, data);
    if ('code' in decided) {
      const message = JSON.stringify({ at: state.next, balance: state.balance, status: state.status });
      const rejection = { kind: 2, code: decided.code, message, details: undefined, page: 0 } as const;
      return { kind: 'rejection', rejection };
    }
    for (const event of decided.events) {
      pages.push(eventPage(event.type, event.data));
      after = apply(after, event);
    }
  }
  return eventBook(undefined, pages);
}

export interface Hosted extends Components {
  domains(): string[];
  /** The newer generation of the projector is declared. */
  rebuild(generation: number): void;
  /** The host of a component goes away. */
  away(name: string, forMs: number): void;
}

export function hostAll(stage: Stage, generation: number): Hosted {
  let changed = () => {};
  const notify = () => changed();
  const reactors: SimulatedReactor<never>[] = [];
  const add = <Kind extends ReactorKind>(
    part: Partial<ReactorDeclaration> & { kind: Kind; name: string },
    answer: (request: ReactionMessages[Kind]['request']) => Response,
  ) => {
    const declaration = { ...DECLARATION, partitions: stage.partitions, ...part };
    reactors.push(new SimulatedReactor(stage, declaration, answer, notify) as unknown as SimulatedReactor<never>);
  };
  const projector = (newest: number) =>
    add(
      {
        kind: 'projector',
        name: PROJECTOR,
        domains: ['account'],
        generation: newest,
        partitions: stage.partitionsOf(newest),
        sync: true,
        maxPages: 5,
      },
      balances,
    );
  const orders = stage.workload === 'orders';
  if (orders) {
    const domains = ['order', 'stock', 'payment'];
    const types = ['Placed', 'Confirmed', 'Cancelled', 'Reserved', 'Paid'];
    add({ kind: 'process_manager', name: PROCESS_MANAGER, domain: PROCESS_MANAGER, domains, types }, (request) => {
      const { trigger } = request;
      if (trigger?.$case === 'timer')
        stage.firesEarly(trigger.value.due!.seconds * 1e6 + trigger.value.due!.nanos / 1000);
      return fulfilment(request, stage.nonce());
    });
  } else {
    add({ kind: 'saga', name: SAGA, domains: ['account'] }, (request) =>
      transfers(request, stage.nonce(), stage.journal),
    );
    projector(generation);
  }
  const domains = orders ? ['order', 'stock', 'payment'] : ['account', 'journal'];
  const aggregates = domains.map((domain) => new SimulatedAggregate(stage, domain));
  return {
    aggregate: (domain) => aggregates.find((each) => each.domain === domain),
    upcaster: () => undefined,
    hasUpcasters: false,
    knowsDomain: (domain) => domains.includes(domain),
    reactors: () => reactors,
    onReactorsChanged: (listener) => {
      changed = listener;
    },
    domains: () => domains,
    rebuild(newest) {
      projector(newest);
      changed();
    },
    away(name, forMs) {
      aggregates.find((each) => each.domain === name)?.leave();
      for (const reactor of reactors) if (reactor.declaration.name === name) reactor.leave(forMs);
    },
  };
}

const DECLARATION = {
  domains: [],
  types: [],
  generation: 1,
  version: 1,
  start: { kind: 'beginning' },
  partitions: 1,
  sync: false,
  ordered: false,
  maxPages: 1,
  domain: '',
  snapshotSchemaVersion: 0,
} as const;

export { numberOf };
