// What delivery does in PostgreSQL: as it is, and behind a pooler.

import { test } from 'node:test';
import { openPostgres } from '../../src/stores/postgres/index.ts';
import { deliveryContract } from '../contract/delivery-contract.ts';
import { testPostgres } from '../support/postgres.ts';

const postgres = await testPostgres();

if (postgres.missing) test('postgres: the delivery contract', { skip: postgres.missing });
else {
  for (const pooler of [false, true]) {
    deliveryContract(`postgres${pooler ? ' without named statements' : ''}`, async (clock) =>
      openPostgres({ connectionString: await postgres.database(), clock, pooler }),
    );
  }
}
