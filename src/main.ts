// Open this first. What a daemon is made of, in the order in which it starts; it stops in reverse.

import { busyness } from './busyness.ts';
import { ComponentRegistry } from './components/registry.ts';
import { ServedAggregate, type ServedLimits, ServedUpcaster } from './components/served.ts';
import { ServedReactor } from './components/served-reactor.ts';
import { type Config, type ServedComponent, type StorageConfig, typesKnownOf } from './config.ts';
import { HotCache } from './coordinators/hot-cache.ts';
import { Deadlines } from './deadlines.ts';
import { openEngine } from './engine.ts';
import { PeerChannels } from './grpc/peer-channels.ts';
import { openPeersServer } from './grpc/peers.ts';
import { hostPort, openServer } from './grpc/server.ts';
import { type Health, openHealth } from './health.ts';
import { uuidText } from './model/stream.ts';
import { openConfiguredStore } from './open-store.ts';
import { openWhenThere } from './open-when-there.ts';
import { readDescriptorFiles } from './payloads/files.ts';
import { Payloads } from './payloads/payloads.ts';
import { recentTypes } from './payloads/recent-types.ts';
import { tellFailures } from './payloads/tell-failures.ts';
import { type Runtime, sleep, systemRuntime } from './runtime.ts';
import type { Store } from './store.ts';
import type { Logger } from './telemetry/log.ts';
import { VERSION } from './version.ts';

export interface Daemon {
  readonly addresses: {
    api?: string | undefined;
    socket?: string | undefined;
    health: string;
    peers?: string | undefined;
  };
  /** Finishes what is under way, within the drain limit, and closes everything. */
  stop(): Promise<void>;
}

export interface StartOptions {
  runtime?: Runtime;
  openStore?: (storage: StorageConfig, runtime: Runtime) => Promise<Store>;
  /** Nobody waits for the start any more. */
  signal?: AbortSignal;
}

/** Probes are answered from the first moment on, so that they say what is waited for. Throws the signal's reason. */
export async function startDaemon(config: Config, log: Logger, options: StartOptions = {}): Promise<Daemon> {
  const health = await openHealth(config.listen.health, VERSION);
  try {
    return await startBeside(health, config, log, options);
  } catch (error) {
    await health.close();
    throw error;
  }
}

async function startBeside(health: Health, config: Config, log: Logger, options: StartOptions): Promise<Daemon> {
  const { runtime = systemRuntime(), openStore = openConfiguredStore, signal = new AbortController().signal } = options;
  const { limits } = config;
  const { state } = health;
  const instance = uuidText(runtime.uuid()).slice(-12);

  const descriptors = await readDescriptorFiles(config.descriptors);
  const onWaiting = (why: string) => {
    state.store = why;
  };
  const store = await openWhenThere({
    open: () => openStore(config.storage, runtime),
    runtime,
    log,
    signal,
    onWaiting,
  });
  state.store = 'ok';
  const deadlines = new Deadlines(runtime);
  const cache = new HotCache(limits);
  const typesOf = (domain: string) => recentTypes(store, domain);
  const payloads = new Payloads({ descriptors, served: typesKnownOf(config.components), typesOf, runtime, log });
  const served = config.components.map((component) => openServed(component, runtime, limits, log));
  const components = new ComponentRegistry(runtime, deadlines, {
    owned: config.domains,
    served: served.filter((component) => component instanceof ServedAggregate),
    servedUpcasters: served.filter((component) => component instanceof ServedUpcaster),
    servedReactors: served.filter((component) => component instanceof ServedReactor),
    upcasted: config.upcastedDomains,
    limits,
    onUpcastersChanged: () => cache.flush(),
    onDescriptors: (component, bytes) => payloads.tell(component, bytes),
  });

  const channels = new PeerChannels(config.peers, runtime);
  let showServing = () => {};
  const engine = await openEngine({
    store,
    owned: config.domains,
    peers: channels,
    components,
    cache,
    runtime,
    limits,
    log,
    instance,
    version: VERSION,
    domains: () => components.hostedDomains(),
    signal,
    onStore: (fault) => {
      state.store = fault ?? 'ok';
      showServing();
    },
    around: (business) => tellFailures(business, payloads, log),
  });
  const { logIdentity } = engine;
  const api = {
    ...engine,
    busy: busyness(),
    payloads,
    components,
    deadlines,
    runtime,
    log,
    limits,
    version: VERSION,
    instance,
  };
  const server = await openServer(api, { ...config.listen, reflection: config.reflection });
  const peers = config.listen.peers && (await openPeersServer(api, config.listen.peers, config.peers));
  if (peers !== undefined) {
    const { host, port } = config.peers.advertise ?? config.listen.peers!;
    channels.address = hostPort(host, port || peers.port);
    engine.delivery.tellOthers();
  }
  health.components = () => partsOf(engine.delivery.subscriptions, served);
  state.daemon = 'ok';
  showServing = () => server.setServing(state.daemon === 'ok' && state.store === 'ok');
  showServing();
  log.info({ instance, store: store.description, log_id: logIdentity.logId, position: logIdentity.position }, 'ready');

  return {
    addresses: { api: server.address, socket: server.socket, health: health.address, peers: peers?.address },
    async stop() {
      const deadlineMs = runtime.monotonicMs() + limits.drainMs;
      const leftMs = () => Math.max(0, deadlineMs - runtime.monotonicMs());
      state.daemon = 'stopping';
      showServing();
      peers?.drain();
      await engine.drain(leftMs());
      await Promise.race([components.drain(leftMs()), sleep(runtime, leftMs())]);
      engine.close();
      await Promise.all([server.close(leftMs()), peers?.close(leftMs())]);
      channels.close();
      for (const component of served) component.close();
      await engine.idle();
      await store.close();
      await health.close();
    },
  };
}

function openServed(
  component: ServedComponent,
  runtime: Runtime,
  limits: ServedLimits,
  log: Logger,
): ServedAggregate | ServedUpcaster | ServedReactor {
  const { kind, address } = component;
  switch (kind) {
    case 'aggregate':
      return new ServedAggregate(component.domain, address, component.snapshotSchemaVersion, runtime, limits);
    case 'upcaster':
      return new ServedUpcaster(component.domain, address, component.types, runtime, limits);
    default:
      return new ServedReactor(component, limits, runtime, log);
  }
}

/** Of what reacts: as delivery sees it, unless its component says more. */
function partsOf(
  subscriptions: readonly { title: string; state: string }[],
  served: readonly { title: string; notReady: string | undefined }[],
): Record<string, string> {
  const parts: Record<string, string> = {};
  for (const { title } of served) parts[title] = 'ok';
  for (const { title, state } of subscriptions) parts[title] = state === 'running' ? 'ok' : state;
  for (const { title, notReady } of served) if (notReady !== undefined) parts[title] = notReady;
  return parts;
}
