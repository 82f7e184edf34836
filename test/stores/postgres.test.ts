// The contract over PostgreSQL: as it is, with the log in partitions, and behind a pooler.

import { test } from 'node:test';
import { openPostgres } from '../../src/stores/postgres/index.ts';
import { storeContract } from '../contract/store-contract.ts';
import { testPostgres } from '../support/postgres.ts';

const postgres = await testPostgres();

if (postgres.missing) test('postgres: the store contract', { skip: postgres.missing });
else {
  const fresh = () => postgres.database();
  const empty = () => postgres.emptyDatabase();
  storeContract('postgres', async () => openPostgres({ connectionString: await fresh() }));
  storeContract(
    'postgres in partitions',
    async () => openPostgres({ connectionString: await empty(), partitionEvents: 400, schema: 'orders' }),
    { runs: 20 },
  );
  storeContract(
    'postgres without named statements',
    async () => openPostgres({ connectionString: await fresh(), pooler: true }),
    { runs: 20 },
  );
}
