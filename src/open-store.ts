import type { StorageConfig } from './config.ts';
import { uuidText } from './model/stream.ts';
import type { Runtime } from './runtime.ts';
import type { Store } from './store.ts';

/** Adapters load only when they are used. */
export async function openConfiguredStore(storage: StorageConfig, runtime: Runtime): Promise<Store> {
  switch (storage.type) {
    case 'memory': {
      const { openMemory } = await import('./stores/memory.ts');
      return openMemory({ logId: uuidText(runtime.uuid()), incarnation: uuidText(runtime.uuid()) });
    }
    case 'sqlite': {
      const { openSqlite } = await import('./stores/sqlite/index.ts');
      return openSqlite({ path: storage.path });
    }
    case 'postgres': {
      const { openPostgres } = await import('./stores/postgres/index.ts');
      return openPostgres({ ...storage, connectionString: storage.connectionString.reveal() });
    }
  }
}
