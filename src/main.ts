// Open this first. What a daemon is made of, in the order in which it starts; it stops in reverse.

import { ComponentRegistry } from './components/registry.ts';
import { ServedAggregate } from './components/served.ts';
import type { Config, StorageConfig } from './config.ts';
import { BusinessCoordinator } from './coordinators/business.ts';
import { Committer } from './coordinators/committer.ts';
import { HotCache } from './coordinators/hot-cache.ts';
import { QueryCoordinator } from './coordinators/query.ts';
import { Deadlines } from './deadlines.ts';
import { forgetExpiredOutcomes } from './delivery/housekeeping.ts';
import { LogTail } from './delivery/log-tail.ts';
import { openServer } from './grpc/server.ts';
import { openHealth, type Readiness } from './health.ts';
import { uuidText } from './model/stream.ts';
import { type Runtime, sleep, systemRuntime } from './runtime.ts';
import type { Store } from './store.ts';
import type { Logger } from './telemetry/log.ts';
import { VERSION } from './version.ts';

export interface Daemon {
  readonly addresses: { api?: string | undefined; socket?: string | undefined; health: string };
  /** Finishes what is under way, within the drain limit, and closes everything. */
  stop(): Promise<void>;
}

export async function startDaemon(
  config: Config,
  log: Logger,
  runtime: Runtime = systemRuntime(),
  openStore: (storage: StorageConfig, runtime: Runtime) => Promise<Store> = openConfiguredStore,
): Promise<Daemon> {
  const { limits } = config;
  const instance = uuidText(runtime.uuid()).slice(-12);

  const store = await openStore(config.storage, runtime);
  const head = await store.head();
  const tail = new LogTail(store, runtime, limits, head.position);
  const committer = new Committer(store, runtime, limits, (books) => tail.publish(books));
  const housekeeping = forgetExpiredOutcomes(store, runtime, log);

  const deadlines = new Deadlines(runtime);
  const served = config.components.map(
    ({ domain, address, snapshotSchemaVersion }) =>
      new ServedAggregate(domain, address, snapshotSchemaVersion, runtime, limits),
  );
  const components = new ComponentRegistry(runtime, deadlines, config.domains, served);

  const cache = new HotCache(limits);
  const business = new BusinessCoordinator({
    store,
    committer,
    components,
    cache,
    runtime,
    limits,
    log: head,
    instance,
  });
  const query = new QueryCoordinator(store, components, head);

  const parts = {
    business,
    query,
    tail,
    components,
    deadlines,
    runtime,
    log,
    limits,
    logIdentity: head,
    version: VERSION,
    instance,
  };
  const server = await openServer(parts, { ...config.listen, reflection: config.reflection });
  let stopping = false;
  const readiness = (): Readiness => ({
    ready: !stopping,
    parts: {
      daemon: stopping ? 'stopping' : 'ok',
      store: 'ok',
      ...Object.fromEntries(served.map(({ domain, notReady }) => [`component ${domain}`, notReady ?? 'ok'])),
    },
  });
  const health = await openHealth(config.listen.health, readiness);
  server.setServing(true);
  log.info({ instance, store: store.description, log_id: head.logId, position: head.position }, 'ready');

  return {
    addresses: { api: server.address, socket: server.socket, health: health.address },
    async stop() {
      const deadlineMs = runtime.monotonicMs() + limits.drainMs;
      const leftMs = () => Math.max(0, deadlineMs - runtime.monotonicMs());
      stopping = true;
      server.setServing(false);
      await Promise.race([business.drain(), sleep(runtime, leftMs())]);
      await Promise.race([components.drain(leftMs()), sleep(runtime, leftMs())]);
      tail.close();
      housekeeping.stop();
      await server.close(leftMs());
      for (const component of served) component.close();
      await committer.idle();
      await store.close();
      await health.close();
    },
  };
}

/** Adapters load only when they are used. */
async function openConfiguredStore(storage: StorageConfig, runtime: Runtime): Promise<Store> {
  switch (storage.type) {
    case 'memory': {
      const { openMemory } = await import('./stores/memory.ts');
      return openMemory({ logId: uuidText(runtime.uuid()), incarnation: uuidText(runtime.uuid()) });
    }
    case 'sqlite': {
      const { openSqlite } = await import('./stores/sqlite/index.ts');
      return openSqlite({ path: storage.path });
    }
  }
}
