// A daemon without its wire, on a store of the test's: the real engine, and components in this process whose handlers a test gives.

import {
  HostLost,
  type ReactionCall,
  type Reactor,
  type ReactorDeclaration,
  type Upcaster,
} from '../../src/component.ts';
import { LIMITS, type Limits } from '../../src/config.ts';
import { completeCommand } from '../../src/coordinators/answers.ts';
import { HotCache } from '../../src/coordinators/hot-cache.ts';
import type { Peers } from '../../src/coordinators/peers.ts';
import { type Engine, openEngine } from '../../src/engine.ts';
import { DaybookError } from '../../src/errors.ts';
import type { CommandBook, CommandResponse } from '../../src/model/book.ts';
import type { ReactionMessages, ReactorKind } from '../../src/model/reaction.ts';
import { type Runtime, systemRuntime } from '../../src/runtime.ts';
import type { Store } from '../../src/store.ts';
import { openLog } from '../../src/telemetry/log.ts';
import { componentsOf, InProcessAccount } from './account.ts';
import { any, command, newRoot } from './books.ts';

export const DEFAULT_LIMITS = Object.fromEntries(
  Object.entries(LIMITS).map(([name, { fallback }]) => [name, fallback]),
) as Limits;

type Handler<Kind extends ReactorKind> = (
  request: ReactionMessages[Kind]['request'],
  call: ReactionCall,
) => Promise<ReactionMessages[Kind]['response']> | ReactionMessages[Kind]['response'];

/** A projector, saga or process manager in this process. */
export class TestReactor<Kind extends ReactorKind = ReactorKind> implements Reactor<Kind> {
  readonly declaration: ReactorDeclaration & { kind: Kind };
  handler: Handler<Kind>;
  refused: string | undefined;
  /** Calls in hand. */
  inHand = 0;
  #available = true;
  #lost = Promise.withResolvers<never>();
  onChange: () => void = () => {};

  constructor(kind: Kind, name: string, handler: Handler<Kind>, declaration: Partial<ReactorDeclaration> = {}) {
    this.declaration = {
      kind,
      name,
      domains: [],
      types: [],
      generation: 1,
      version: 1,
      start: { kind: 'beginning' },
      partitions: 16,
      sync: kind === 'projector',
      ordered: false,
      maxPages: kind === 'projector' ? 100 : 1,
      domain: kind === 'process_manager' ? name : '',
      snapshotSchemaVersion: 0,
      ...declaration,
      // biome-ignore lint/suspicious/noExplicitAny: the kind is that of the class
    } as any;
    this.handler = handler;
    this.#lost.promise.catch(() => {});
  }

  get available(): boolean {
    return this.#available;
  }

  set available(available: boolean) {
    this.#available = available;
    this.onChange();
  }

  /** The host goes away with everything that it has in hand, and is back at once unless told otherwise. */
  crash(back = true): void {
    const lost = this.#lost;
    this.#lost = Promise.withResolvers<never>();
    this.#lost.promise.catch(() => {});
    lost.reject(new HostLost(this.declaration.name, 'test'));
    this.available = back;
  }

  async handle(
    request: ReactionMessages[Kind]['request'],
    call: ReactionCall,
  ): Promise<ReactionMessages[Kind]['response']> {
    if (!this.#available) throw new DaybookError('COMPONENT_UNAVAILABLE', 'nobody is there');
    this.inHand++;
    try {
      return await Promise.race([this.#lost.promise, (async () => this.handler(request, call))()]);
    } catch (error) {
      if (error instanceof DaybookError) throw error;
      throw new DaybookError('COMPONENT_FAULT', error instanceof Error ? error.message : String(error));
    } finally {
      this.inHand--;
    }
  }

  refuse(sentence: string | undefined): void {
    this.refused = sentence;
  }
}

export interface WorldOptions {
  store: Store;
  reactors?: readonly TestReactor<never>[] | readonly unknown[];
  accounts?: readonly InProcessAccount[];
  upcasters?: readonly Upcaster[];
  limits?: Partial<Limits>;
  runtime?: Runtime;
  instance?: string;
  /** Nobody waits for the start any more. */
  signal?: AbortSignal;
  peers?: Peers;
}

/** Fast retries: tests wait for facts, not for backoffs. */
export const QUICK: Partial<Limits> = { reactionRetryMinMs: 5, reactionRetryMaxMs: 20 };

export class World implements AsyncDisposable {
  readonly store: Store;
  readonly engine: Engine;
  readonly accounts: readonly InProcessAccount[];
  readonly logLines: string[];
  readonly #runtime: Runtime;
  readonly #add: (reactor: Reactor) => void;

  private constructor(
    store: Store,
    engine: Engine,
    accounts: readonly InProcessAccount[],
    logLines: string[],
    runtime: Runtime,
    add: (reactor: Reactor) => void,
  ) {
    this.store = store;
    this.engine = engine;
    this.accounts = accounts;
    this.logLines = logLines;
    this.#runtime = runtime;
    this.#add = add;
  }

  static async open(options: WorldOptions): Promise<World> {
    const {
      store,
      accounts = [new InProcessAccount()],
      runtime = systemRuntime(),
      instance = `i${++worlds}`,
    } = options;
    const limits: Limits = { ...DEFAULT_LIMITS, ...QUICK, ...options.limits };
    const logLines: string[] = [];
    const log = await openLog({ level: 'debug', stream: { write: (line) => logLines.push(line) }, pretty: false });
    const reactors = [...((options.reactors ?? []) as Reactor[])];
    let changed = () => {};
    const watch = (reactor: Reactor) => {
      (reactor as unknown as TestReactor).onChange = () => changed();
    };
    reactors.forEach(watch);
    const components = {
      ...componentsOf(...accounts),
      upcaster: (domain: string) => options.upcasters?.find((upcaster) => upcaster.domain === domain),
      // More may attach later.
      get hasUpcasters() {
        return (options.upcasters ?? []).length > 0;
      },
      reactors: () => reactors,
      onReactorsChanged: (listener: () => void) => {
        changed = listener;
      },
    };
    const cache = new HotCache(limits);
    const domains = () => accounts.map(({ domain }) => domain);
    const version = 'test';
    const { peers, signal } = options;
    const given = { store, components, cache, runtime, limits, log, instance, version, domains };
    const engine = await openEngine({ ...given, ...(peers && { peers }), ...(signal && { signal }) });
    return new World(store, engine, accounts, logLines, runtime, (reactor) => {
      watch(reactor);
      reactors.push(reactor);
      changed();
    });
  }

  /** A component comes later. */
  add(reactor: unknown): void {
    this.#add(reactor as Reactor);
  }

  execute(book: CommandBook, { timeoutMs = Infinity, signal = new AbortController().signal } = {}) {
    completeCommand(book, this.#runtime);
    const deadlineMs = this.#runtime.monotonicMs() + timeoutMs;
    return this.engine.business.execute(book, { deadlineMs, signal });
  }

  /** A deposit; the answer. */
  deposit(root = newRoot(), amount = 1, correlationId = ''): Promise<CommandResponse> {
    return this.execute(command(root, any('Deposit', String(amount)), { correlationId }));
  }

  /** As a daemon that is told to stop; the store stays open. */
  async stop(): Promise<void> {
    await this.engine.drain(10_000);
    this.engine.close();
    await this.engine.idle();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

let worlds = 0;
