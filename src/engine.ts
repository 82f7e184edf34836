// Everything between a store and domain code on one side and the wire on the other: the coordinators and delivery, connected. main.ts
// gives it a real store and real components; tests and simulations give it theirs.

import type { Components } from './component.ts';
import { bodies } from './components/bodies.ts';
import type { Limits } from './config.ts';
import { Admission } from './coordinators/admission.ts';
import { Asking, Hosts } from './coordinators/asking.ts';
import { BusinessCoordinator } from './coordinators/business.ts';
import { Committer } from './coordinators/committer.ts';
import { ControlCoordinator } from './coordinators/control.ts';
import { DeadLettersCoordinator } from './coordinators/dead-letters.ts';
import { DryRunner } from './coordinators/dry-run.ts';
import { FactRecorder } from './coordinators/facts.ts';
import { Forwarding } from './coordinators/forwarding.ts';
import { Handover } from './coordinators/handover.ts';
import { Histories } from './coordinators/histories.ts';
import type { HotCache } from './coordinators/hot-cache.ts';
import { Ingest } from './coordinators/ingest.ts';
import { NO_PEERS, type Peers } from './coordinators/peers.ts';
import { ProjectionsCoordinator } from './coordinators/projections.ts';
import { QueryCoordinator } from './coordinators/query.ts';
import { SyncModes } from './coordinators/sync-modes.ts';
import { UpcastingReads } from './coordinators/upcasting.ts';
import { Waiting } from './coordinators/waiting.ts';
import { Delivery } from './delivery/delivery.ts';
import { forgetExpiredOutcomes } from './delivery/housekeeping.ts';
import { Instances } from './delivery/instances.ts';
import { LogTail } from './delivery/log-tail.ts';
import { READING, type Reading } from './delivery/reading.ts';
import { readStubbornly } from './delivery/units.ts';
import type { EventPage } from './model/book.ts';
import { type Runtime, sleep } from './runtime.ts';
import type { Store } from './store.ts';
import type { Logger } from './telemetry/log.ts';

export interface EngineOptions {
  store: Store;
  components: Components;
  /** Histories of aggregates; the components' registry flushes it when upcasters change. */
  cache: HotCache;
  runtime: Runtime;
  limits: Limits;
  /** Sizes that nobody needs to set; a simulation's logs are short. */
  reading?: Reading;
  log: Logger;
  /** Tells this daemon from others of the log. */
  instance: string;
  version: string;
  /** Domains that somebody decides for here now. */
  domains: () => readonly string[];
  /** The only domains that this daemon appends to; absent: whatever components host. */
  owned?: readonly string[] | undefined;
  /** How other daemons of the log are called; absent: they are not. */
  peers?: Peers;
  /** Why the store cannot be used; `undefined`: it can again. */
  onStore?: (fault: string | undefined) => void;
  /** Nobody waits for the start any more. */
  signal?: AbortSignal;
  /** What the rest uses in the place of the business coordinator. */
  around?: (business: BusinessCoordinator) => Pick<BusinessCoordinator, 'execute'>;
}

export type Engine = Awaited<ReturnType<typeof openEngine>>;

/** Delivery has begun when it resolves; a store that goes away meanwhile is waited for. */
export async function openEngine(options: EngineOptions) {
  const { store, components, cache, runtime, limits, log, instance, around = (business) => business } = options;
  const {
    owned,
    reading = READING,
    peers = NO_PEERS,
    signal = new AbortController().signal,
    onStore = () => {},
  } = options;
  const head = await readStubbornly({ runtime }, signal, () => store.head());
  const tail = new LogTail(store, runtime, limits, reading, head.position);
  const committer = new Committer(
    store,
    runtime,
    limits,
    (books) => {
      tail.publish(books);
      delivery.announce('events');
    },
    () => delivery.lookAtStore(),
  );
  const reads = new UpcastingReads(store, components);
  const admission = new Admission(limits, runtime);
  const instances = new Instances(instance);
  const common = {
    store,
    reads,
    histories: new Histories(reads, cache, limits),
    hosts: new Hosts(components, store, { knownElsewhere: (domain) => instances.knows(domain), owned }),
    asking: new Asking(runtime, limits, instance),
    admission,
    committer,
    components,
    tail,
    runtime,
    limits,
    reading,
    log: head,
  };
  const business = around(new BusinessCoordinator(common));
  const facts = new FactRecorder(common);
  const dryRunner = new DryRunner(common);
  const query = new QueryCoordinator(common);
  const { version, domains } = options;
  const delivery: Delivery = new Delivery({
    ...common,
    business,
    facts,
    bodies,
    log,
    logIdentity: head,
    instance,
    version,
    domains,
    instances,
    peerAddress: () => peers.address,
    commands: admission,
    onStore,
  });
  const mayChange = (domain: string, page: EventPage) => reads.concerns(domain, [page]);
  const waiting = new Waiting({ ...common, delivery, mayChange });
  const handover = new Handover({
    ...common,
    bodies,
    instance,
    storeClock: delivery.storeClock,
    announce: () => delivery.announce('outbox'),
    isHosted: (domain) => instances.hostsOf(domain).length > 0,
    onNews: (listener) => delivery.onNews(listener),
  });
  const forwarding = new Forwarding({
    ...common,
    business,
    facts,
    dryRunner,
    handover,
    peers,
    neighbours: (domain) => instances.hostsOf(domain),
    lookAround: () => delivery.lookAround(),
    logger: log,
  });
  const here = { business, facts, dryRunner, sync: new SyncModes({ ...common, business, waiting }) };
  const sync = new SyncModes({ ...common, business: forwarding, waiting });
  const { sagas, processManagers } = delivery;
  const ingest = new Ingest({ ...common, waiting, delivery, sagas, processManagers, projectors: common });
  const projections = new ProjectionsCoordinator({
    ...common,
    query,
    waiting,
    onProgress: (listener) => delivery.onProgress(listener),
  });
  const deadLetters = new DeadLettersCoordinator({
    ...common,
    bodies,
    log,
    storeClock: delivery.storeClock,
    replayed: (name) => delivery.replayed(name),
  });
  const control = new ControlCoordinator({ ...common, cache, log, delivery });
  const housekeeping = forgetExpiredOutcomes(store, runtime, log);
  await delivery.start(signal);

  return {
    /** Wherever a domain is hosted. */
    business: forwarding,
    facts: forwarding,
    dryRunner: { run: forwarding.dryRun },
    /** Only what this daemon hosts. */
    here,
    admission,
    query,
    delivery,
    waiting,
    sync,
    ingest,
    projections,
    deadLetters,
    control,
    tail,
    logIdentity: head,
    /** What is under way ends, as far as the time allows; nothing new is taken. */
    async drain(timeoutMs: number): Promise<void> {
      const drained = admission.drain();
      await Promise.all([delivery.stop(timeoutMs), Promise.race([drained, sleep(runtime, timeoutMs)])]);
    },
    /** Streams end. */
    close(): void {
      tail.close();
      handover.close();
      housekeeping.stop();
    },
    /** Everything that was to be stored is. */
    idle: () => committer.idle(),
  };
}
