// The configured log, opened beside the daemon: for commands that read it themselves.

import type { StorageConfig } from '../config.ts';
import type { Store } from '../store.ts';
import { EXIT, Exit, usage } from './exit-codes.ts';

/** Only looks. `purpose`: what there is nothing of in a log that ends with its daemon. */
export async function openStoredLog(storage: StorageConfig, purpose: string): Promise<Store> {
  if (storage.type === 'memory') throw usage(`a log in memory lives in its daemon only: nothing to ${purpose}`);
  return openReadOnly(storage).catch((thrown: Error) => {
    throw new Exit(EXIT.fault, thrown.message);
  });
}

/** Rejects with what the store says. */
export async function openReadOnly(storage: Exclude<StorageConfig, { type: 'memory' }>): Promise<Store> {
  if (storage.type === 'sqlite') {
    const { openSqlite } = await import('../stores/sqlite/index.ts');
    return openSqlite({ path: storage.path, readOnly: true });
  }
  const { openPostgres } = await import('../stores/postgres/index.ts');
  return openPostgres({ ...storage, connectionString: storage.connectionString.reveal(), readOnly: true });
}
