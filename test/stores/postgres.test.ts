// The contract over PostgreSQL, and what only a server can do.

import { test } from 'node:test';
import { openPostgres } from '../../src/stores/postgres/index.ts';
import { storeContract } from '../contract/store-contract.ts';
import { testPostgres } from '../support/postgres.ts';

const postgres = await testPostgres();

if (postgres.missing) test('postgres: the store contract', { skip: postgres.missing });
else storeContract('postgres', async () => openPostgres({ connectionString: await postgres.database() }));
