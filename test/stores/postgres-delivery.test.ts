// What delivery does in PostgreSQL.

import { test } from 'node:test';
import { openPostgres } from '../../src/stores/postgres/index.ts';
import { deliveryContract } from '../contract/delivery-contract.ts';
import { testPostgres } from '../support/postgres.ts';

const postgres = await testPostgres();

if (postgres.missing) test('postgres: the delivery contract', { skip: postgres.missing });
else {
  deliveryContract('postgres', async (clock) => openPostgres({ connectionString: await postgres.database(), clock }));
}
