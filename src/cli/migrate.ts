// `daybook migrate`: brings the configured database up to date, for those who do not let the daemon do it.

import { loadConfig } from '../config.ts';
import { EXIT, Exit, usage } from './exit-codes.ts';
import { print } from './output.ts';

export async function migrate(options: { config?: string; dryRun?: boolean }): Promise<void> {
  const { storage } = loadConfig({ configPath: options.config });
  if (storage.type !== 'postgres') {
    throw usage(`a log in ${storage.type} is brought up to date when its daemon starts: nothing to migrate`);
  }
  const dryRun = options.dryRun === true;
  const { migratePostgres } = await import('../stores/postgres/index.ts');
  const connectionString = storage.connectionString.reveal();
  const migrations = await migratePostgres({ ...storage, connectionString, dryRun }).catch((thrown: Error) => {
    throw new Exit(EXIT.fault, thrown.message);
  });
  if (migrations.length === 0) await print(`schema ${storage.schema} is up to date`);
  for (const { name } of migrations) await print(`${dryRun ? 'would apply' : 'applied'} ${name}`);
}
